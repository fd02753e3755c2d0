"""Measure the progress of a stage of work: rates, time left and failures."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

_MINUTE_S = 60.0
_ETA_WINDOW_S = 3600.0  # as `avstore status --eta`: the rate of the last hour decides


class Meter:
    """Count the finished steps of one stage of work; call it with the number of new ones.

    Attributes:
        title: The stage: "fetch", "extract", or a feature.
        total: Steps to do.
        unit: Plural of a step.
        done: Finished steps.
        kept: Those of them that an earlier run finished; they count for no rate.
        failures: Failed clips by reason.
        changed: Called after each change.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str = "clips",
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.kept = 0
        self.failures: Counter[str] = Counter()
        self.changed = changed
        self.whole: Meter | None = None
        self._clock = clock
        self._opened: float | None = clock()
        self._before_s = 0.0
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def __call__(self, steps: int, *, kept: bool = False) -> None:
        """Count finished steps; `kept`: an earlier run finished them."""
        self.done += steps
        self.kept += steps * kept
        now = self._clock()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.done - self.kept))
            while now - self._marks[0][0] > _ETA_WINDOW_S:
                self._marks.popleft()
        if self.whole:
            self.whole(steps, kept=kept)
        self.changed()

    def fail(self, reason: str, clips: int = 1) -> None:
        """Count failed clips; a negative number takes back what a later attempt has changed."""
        self.failures[reason] += clips
        if self.whole:
            self.whole.fail(reason, clips)

    @property
    def running(self) -> bool:
        """Whether the stage is open."""
        return self._opened is not None

    @property
    def seconds(self) -> float:
        """Seconds spent on the stage."""
        running = 0.0 if self._opened is None else self._clock() - self._opened
        return self._before_s + running

    def rate(self, window_s: float | None = None) -> float | None:
        """Return the steps per second of the last `window_s` (None: of the whole stage).

        None until a step is finished.
        """
        finished = self.done - self.kept
        if not finished:
            return None
        if window_s is None:
            return finished / max(self.seconds, 1e-3)
        now = self._clock()
        at, then = next(
            (mark for mark in self._marks if now - mark[0] <= window_s), (now - window_s, finished)
        )
        return (finished - then) / max(now - at, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all steps are done at the rate of the last hour; None if unknown."""
        left, rate = self.total - self.done, self.rate(_ETA_WINDOW_S)
        if left <= 0:
            return 0.0
        return left / rate if rate else None

    def open(self, total: int) -> None:
        """Go on with further steps."""
        self.total += total
        self._opened = self._clock()

    def close(self) -> None:
        """Stop the clock until the next `open`."""
        self._before_s, self._opened = self.seconds, None

    def facts(self) -> dict[str, Any]:
        """Return the state as the published file has it."""
        left = self.seconds_left
        return {
            "stage": self.title,
            "unit": self.unit,
            "total": self.total,
            "done": self.done,
            "kept": self.kept,
            "seconds": round(self.seconds, 1),
            "per_second": _rounded(self.rate()),
            "per_second_last_minute": _rounded(self.rate(_MINUTE_S)) if self.running else None,
            "seconds_left": None if left is None or not self.running else round(left, 1),
            "failures": {reason: n for reason, n in self.failures.most_common() if n > 0},
            "running": self.running,
        }


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else float(f"{rate:.4g}")


class Progress(Protocol):
    """Shows the progress of one stage of work, such as a progress bar of the CLI."""

    def __call__(self, title: str, total: int, unit: str = ...) -> AbstractContextManager[Meter]:
        """Open a display of `total` steps; the context yields the meter to call."""
        ...


@contextmanager
def no_progress(title: str, total: int, unit: str = "clips") -> Iterator[Meter]:
    """Show nothing: the default `Progress`."""
    yield Meter(title, total, unit)
