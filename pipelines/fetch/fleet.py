"""Runs attempts side by side, each let through one gate, and tries again what may be tried again.

The driver's thread alone decides what begins and when; threads only carry attempts out. An
attempt begins after the outcomes known by then were handed on, so that whoever records them has
done so: a killed run loses at most the attempts in flight.
"""

import heapq
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from avstore.manifests.verdicts import POLICIES
from avstore.pipelines.fetch.attempt import Tried
from avstore.pipelines.fetch.clock import after
from avstore.pipelines.fetch.guards import DiskWatch, DominanceWatch, FetchStopped
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.rate_limit import Gate, Ticket, in_words
from avstore.pipelines.fetch.source import FetchResult, MediaRequest

_LOG = logging.getLogger(__name__)
#: The longest single sleep: how long a SIGINT may go unnoticed.
_NAP_S = 0.5
#: A clip met by this many pauses in one run is left to the next: it may be what causes them.
_MAX_UNCHARGED = 5


@dataclass(order=True)
class _Entry:
    """A clip in the queue. due: seconds since the epoch."""

    due: float
    order: int
    clip: MediaRequest = field(compare=False)


class Fleet:
    """The queue of one run."""

    def __init__(
        self,
        attempt: Callable[[MediaRequest], Tried],
        gate: Gate,
        options: FetchOptions,
        disk: DiskWatch,
    ) -> None:
        self.attempt = attempt
        self.gate = gate
        self.options = options
        self.disk = disk
        self.dominance = DominanceWatch(options.abort_share, options.abort_window)
        self._queue: list[_Entry] = []
        self._order = itertools.count()
        self._uncharged: Counter[str] = Counter()
        self._running: dict[Future[Tried], tuple[MediaRequest, Ticket]] = {}
        self._stop: FetchStopped | None = None

    def run(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Every attempt's outcome, as it happens. Raises FetchStopped after the last of them."""
        for clip in wanted:
            self._push(clip, 0.0)
        if self.gate.paused:
            _LOG.warning("fetching waits: an earlier run was told %s", self.gate.why())
        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="fetch")
        try:
            while self._running or (self._stop is None and self._worth_waiting()):
                self._begin(pool)
                yield from self._collect()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if self._stop:
            raise self._stop

    def _push(self, clip: MediaRequest, due: float) -> None:
        heapq.heappush(self._queue, _Entry(due, next(self._order), clip))

    def _worth_waiting(self) -> bool:
        """Whether there is a clip whose time comes while this run may wait for it."""
        if not self._queue:
            return False
        away = self._queue[0].due - max(time.time(), self.gate.state.open_until)
        if away <= self.options.patience_s:
            return True
        _LOG.warning(
            "%d clips may be tried again, the first in %s; run the same command again then",
            len(self._queue),
            in_words(away),
        )
        return False

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Start what may be started now."""
        while (
            self._stop is None
            and self._queue
            and len(self._running) < self.options.workers
            and self._queue[0].due <= time.time()
            and self.gate.wait_s() <= 0.0
        ):
            try:
                self.disk.check()
            except FetchStopped as stop:
                self._stop = stop
                return
            clip = heapq.heappop(self._queue).clip
            ticket = self.gate.begin()
            self._running[pool.submit(self.attempt, clip)] = clip, ticket

    def _collect(self) -> Iterator[FetchResult]:
        """Wait a little, and hand on what has ended."""
        timeout = self._nap()
        if not self._running:
            time.sleep(timeout)
            return
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in done:
            clip, ticket = self._running.pop(future)
            yield self._settle(clip, ticket, future.result())

    def _nap(self) -> float:
        """How long nothing can begin, at most a moment."""
        if len(self._running) >= self.options.workers or not self._queue or self._stop:
            return _NAP_S
        until = max(self._queue[0].due - time.time(), self.gate.wait_s())
        return min(_NAP_S, max(0.0, until))

    def _settle(self, clip: MediaRequest, ticket: Ticket, tried: Tried) -> FetchResult:
        """What an outcome means for the queue; the row to record."""
        row = tried.row
        self.gate.end(ticket, row, tried.retry_after_s)
        if row.verdict is not None and POLICIES[row.verdict].pauses_queue:
            until = self.gate.state.open_until
            row = replace(row, not_before=max(row.not_before or after(0), _at(until)))
        self._requeue(clip, row)
        try:
            self.dominance.see(row)
        except FetchStopped as stop:
            self._stop = self._stop or stop
        if self._stop is None and self.gate.paused_for_s() > self.options.max_pause_s:
            self._stop = FetchStopped(
                f"fetching was paused again and again for {in_words(self.options.max_pause_s)}: "
                f"{self.gate.why()}. Nothing was marked failed; run the same command again later"
            )
        return row

    def _requeue(self, clip: MediaRequest, row: FetchResult) -> None:
        if row.status != "retryable" or row.verdict is None:
            return
        tried = replace(clip, attempts=clip.attempts + 1) if row.charged else clip
        limit = POLICIES[row.verdict].max_attempts
        if limit is not None and tried.attempts >= limit:
            return
        if not row.charged:
            self._uncharged[clip.clip_id] += 1
            if self._uncharged[clip.clip_id] >= _MAX_UNCHARGED:
                return
        due = row.not_before.replace(tzinfo=UTC).timestamp() if row.not_before else 0.0
        self._push(tried, due)


def _at(seconds: float) -> datetime:
    """Seconds since the epoch as a timestamp of the ledger."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
