"""Run attempts in a pool of threads, at the rate of one limiter, and retry what may be retried.

Only the driver's thread starts attempts; the pool's threads carry them out. An attempt begins
after all results known by then were yielded, and so recorded by the caller: a killed run loses at
most the attempts in flight.
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

from avstore.manifests.ledger import now
from avstore.manifests.verdicts import POLICIES, attempts_exhausted
from avstore.pipelines.fetch.attempt import Attempt
from avstore.pipelines.fetch.guards import DiskGuard, FetchStopped, OutageGuard
from avstore.pipelines.fetch.rate_limit import Permit, RateLimiter, format_duration
from avstore.pipelines.fetch.source import FetchOptions, FetchResult, MediaRequest

_LOG = logging.getLogger(__name__)
#: The longest single sleep: a SIGINT is handled within this time.
_MAX_SLEEP_S = 0.5
#: A clip whose attempts paused the queue this often in one run is left to the next run: it may be
#: the cause of the pauses.
_MAX_UNCHARGED = 5


@dataclass(order=True)
class _QueuedRequest:
    """A request in the queue. due: seconds since the epoch; order: breaks ties."""

    due: float
    order: int
    request: MediaRequest = field(compare=False)


class AttemptPool:
    """The queue and the worker threads of one run.

    Args:
        attempt: Runs one attempt; called in the pool's threads.
        limiter: Decides when an attempt may begin.
        options: Number of workers, patience, longest pause, and the limits of the outage guard.
        disk: Checked before each attempt.
    """

    def __init__(
        self,
        attempt: Callable[[MediaRequest], Attempt],
        limiter: RateLimiter,
        options: FetchOptions,
        disk: DiskGuard,
    ) -> None:
        self.attempt = attempt
        self.limiter = limiter
        self.options = options
        self.disk = disk
        self.outage = OutageGuard(options.abort_share, options.abort_window)
        self._queue: list[_QueuedRequest] = []
        self._order = itertools.count()
        self._uncharged: Counter[str] = Counter()
        self._running: dict[Future[Attempt], tuple[MediaRequest, Permit]] = {}
        self._stop: FetchStopped | None = None

    def run(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield the result of every attempt as it ends.

        Raises:
            FetchStopped: A guard stopped the run; raised after the last result.
        """
        for request in requests:
            self._push(request, 0.0)
        if self.limiter.paused:
            _LOG.warning(
                "fetching waits for %s: an earlier run was paused by %s",
                format_duration(self.limiter.wait_s()),
                self.limiter.pause_reason(),
            )
        pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="fetch")
        try:
            while self._running or (self._stop is None and self._worth_waiting()):
                self._start_due(pool)
                yield from self._collect()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if self._stop:
            raise self._stop

    def _push(self, request: MediaRequest, due: float) -> None:
        heapq.heappush(self._queue, _QueuedRequest(due, next(self._order), request))

    def _worth_waiting(self) -> bool:
        """Return whether the next request is due within the run's patience."""
        if not self._queue:
            return False
        wait_s = self._queue[0].due - max(time.time(), self.limiter.state.open_until)
        if wait_s <= self.options.patience_s:
            return True
        _LOG.warning(
            "%d clips can be retried, the first in %s; run the same command again then",
            len(self._queue),
            format_duration(wait_s),
        )
        return False

    def _start_due(self, pool: ThreadPoolExecutor) -> None:
        """Start the attempts that may begin now."""
        while (
            self._stop is None
            and self._queue
            and len(self._running) < self.options.workers
            and self._queue[0].due <= time.time()
            and self.limiter.wait_s() <= 0.0
        ):
            try:
                self.disk.check()
            except FetchStopped as stop:
                self._stop = stop
                return
            permit = self.limiter.acquire()
            if permit is None:
                return
            request = heapq.heappop(self._queue).request
            self._running[pool.submit(self.attempt, request)] = request, permit

    def _collect(self) -> Iterator[FetchResult]:
        """Wait a moment and yield the results of finished attempts."""
        timeout = self._sleep_s()
        if not self._running:
            time.sleep(timeout)
            return
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in done:
            request, permit = self._running.pop(future)
            yield self._settle(request, permit, future.result())

    def _sleep_s(self) -> float:
        """Return the seconds in which no attempt can begin, at most `_MAX_SLEEP_S`."""
        if len(self._running) >= self.options.workers or not self._queue or self._stop:
            return _MAX_SLEEP_S
        until = max(self._queue[0].due - time.time(), self.limiter.wait_s())
        return min(_MAX_SLEEP_S, max(0.0, until))

    def _settle(self, request: MediaRequest, permit: Permit, attempt: Attempt) -> FetchResult:
        """Update limiter, queue and guards after an attempt; return the result to record."""
        result = attempt.result
        self.limiter.release(permit, result, attempt.retry_after_s)
        if result.verdict is not None and POLICIES[result.verdict].pauses_queue:
            until = datetime.fromtimestamp(self.limiter.state.open_until, UTC).replace(tzinfo=None)
            result = replace(result, not_before=max(result.not_before or now(), until))
        self._requeue(request, result)
        try:
            self.outage.record(result)
        except FetchStopped as stop:
            self._stop = self._stop or stop
        if self._stop is None and self.limiter.paused_for_s() > self.options.max_pause_s:
            self._stop = FetchStopped(
                "fetching stopped: it was paused for more than max_pause_s "
                f"({format_duration(self.options.max_pause_s)}) by {self.limiter.pause_reason()}. "
                "No clip was marked as failed; run the same command again later: it tries one clip "
                f"in {format_duration(self.limiter.wait_s())}"
            )
        return result

    def _requeue(self, request: MediaRequest, result: FetchResult) -> None:
        """Queue a clip again if the verdicts that it met allow another attempt."""
        if result.status != "retryable" or result.verdict is None:
            return
        attempts = request.attempts + result.charged
        verdicts = request.verdicts | {result.verdict} if result.charged else request.verdicts
        if attempts_exhausted(verdicts, attempts):
            return
        if not result.charged:
            self._uncharged[request.clip_id] += 1
            if self._uncharged[request.clip_id] >= _MAX_UNCHARGED:
                return
        due = result.not_before.replace(tzinfo=UTC).timestamp() if result.not_before else 0.0
        self._push(replace(request, attempts=attempts, verdicts=verdicts), due)
