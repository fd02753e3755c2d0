"""Stop a run early when the disk fills up or one class of failure takes over."""

import shutil
import time
from collections import Counter, deque
from pathlib import Path

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.source import FetchResult, SourceError

_DISK_EVERY_S = 1.0
#: A verdict with at least this share of all earlier attempts is usual, not a sudden outage.
_USUAL_SHARE = 0.5


class FetchStopped(SourceError):  # noqa: N818 - not an error of the source
    """Fetching ended before its queue was empty; a later run continues from what is recorded."""


class DiskGuard:
    """Raise FetchStopped before the disk is full.

    Args:
        folder: Any folder on the disk.
        min_free_bytes: Free space to keep.
    """

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self.folder = folder
        self.min_free_bytes = min_free_bytes
        self._checked_at = float("-inf")

    def check(self) -> None:
        """Check the free space, at most once a second.

        Raises:
            FetchStopped: Less than `min_free_bytes` are free.
        """
        if time.monotonic() - self._checked_at < _DISK_EVERY_S:
            return
        self._checked_at = time.monotonic()
        free = shutil.disk_usage(self.folder).free
        if free < self.min_free_bytes:
            raise FetchStopped(
                f"fetching stopped: {self.folder} has {free / 1e9:.2f} GB of free space, less than "
                f"min_free_bytes ({self.min_free_bytes / 1e9:.2f} GB); fetched clips are kept; "
                "free some space and run the same command again"
            )


class OutageGuard:
    """Raise FetchStopped when one verdict suddenly makes up nearly all attempts.

    That is far more often an outage, a block or a wrong URL than a property of the clips.
    Failures that pause the queue (rate limits and the like) do not count: the rate limiter's
    circuit breaker handles them.

    Args:
        share: Share of the window from which the run stops; above 1 never.
        window: Number of latest attempts to look at.
    """

    def __init__(self, share: float, window: int) -> None:
        self.share = share
        self.window = window
        self._recent: deque[Verdict | None] = deque()
        self._earlier: Counter[Verdict | None] = Counter()

    def record(self, result: FetchResult) -> None:
        """Count a result.

        Raises:
            FetchStopped: Its verdict has taken over the latest attempts.
        """
        verdict = result.verdict
        if verdict is not None and POLICIES[verdict].pauses_queue:
            return
        self._recent.append(verdict)
        if len(self._recent) > self.window:
            self._earlier[self._recent.popleft()] += 1
        if len(self._recent) == self.window and verdict is not None:
            self._check(verdict, result.message)

    def _check(self, verdict: Verdict, message: str) -> None:
        count = self._recent.count(verdict)
        total = self._earlier.total()
        usual = self._earlier[verdict] / total if total >= self.window else 0.0
        if count >= self.share * self.window and usual < _USUAL_SHARE:
            raise FetchStopped(
                f"fetching stopped: {count} of the last {self.window} attempts failed with "
                f"{verdict.value} (latest message: {message}), which looks like an outage, a block "
                "or a wrong URL; fix the cause and run the same command again. To retry clips that "
                f"were given up: avstore retry DATASET --where \"class = '{verdict.value}'\""
            )
