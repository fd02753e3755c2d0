"""What ends a run early: a disk that fills, a pause that lasts, one failure that takes over."""

import shutil
import time
from collections import Counter, deque
from pathlib import Path

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.source import FetchResult, SourceError

_DISK_EVERY_S = 1.0
_SUDDEN = 0.5


class FetchStopped(SourceError):  # noqa: N818 - not an error of the source
    """Fetching ended before its queue did. Everything recorded stands; a later run goes on."""


class DiskWatch:
    """Raises FetchStopped before the disk is full."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self.folder = folder
        self.min_free_bytes = min_free_bytes
        self._looked_at = float("-inf")

    def check(self) -> None:
        """Look, at most once a second."""
        if time.monotonic() - self._looked_at < _DISK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        free = shutil.disk_usage(self.folder).free
        if free < self.min_free_bytes:
            raise FetchStopped(
                f"only {free / 1e9:.2f} GB are free at {self.folder}, less than the "
                f"{self.min_free_bytes / 1e9:.2f} GB to be kept free; fetching stopped, nothing is "
                "lost; free some space and run the same command again"
            )


class DominanceWatch:
    """Raises FetchStopped when one class of failure suddenly makes up nearly all attempts.

    That is an outage, a block or a wrong address far more often than a fact about the clips. The
    queue's own pauses (rate limits and the like) do not count: they have their breaker.
    """

    def __init__(self, share: float, window: int) -> None:
        self.share = share
        self.window = window
        self._last: deque[Verdict | None] = deque()
        self._before: Counter[Verdict | None] = Counter()

    def see(self, outcome: FetchResult) -> None:
        """Take an outcome in."""
        verdict = outcome.verdict
        if verdict is not None and POLICIES[verdict].pauses_queue:
            return
        self._last.append(verdict)
        if len(self._last) > self.window:
            self._before[self._last.popleft()] += 1
        if len(self._last) == self.window and verdict is not None:
            self._judge(verdict, outcome.message)

    def _judge(self, verdict: Verdict, message: str) -> None:
        count = self._last.count(verdict)
        earlier = self._before.total()
        usual = self._before[verdict] / earlier if earlier >= self.window else 0.0
        if count >= self.share * self.window and usual < _SUDDEN:
            raise FetchStopped(
                f"{count} of the last {self.window} attempts ended as {verdict.value} (the latest: "
                f"{message}); that looks like an outage, a block or a wrong address, so fetching "
                "stopped. Run the same command again when it is mended; clips wrongly given up "
                f"come back with: avstore retry DATASET --where \"class = '{verdict.value}'\""
            )
