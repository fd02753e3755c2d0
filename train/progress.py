"""Progress of a run: samples a second, time waiting for data, time left."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

from avstore.manifests import terminal

Item = TypeVar("Item")


def say(console: Console, line: str) -> None:
    """Print a line of progress, unless -q is given."""
    if not terminal.is_quiet():
        console.print(line)


class Meter:
    """Counts samples and measures the time spent waiting for data.

    Attributes:
        samples: Samples so far; the caller adds them.
        waited: Seconds spent waiting for data.
        started: Clock time of the start, in seconds.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.waited = 0.0
        self.started = time.perf_counter()

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and count the time until each arrives as waiting."""
        iterator = iter(items)
        while True:
            begin = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - begin
            yield item

    @property
    def rate(self) -> float:
        """Samples a second since the start."""
        return self.samples / max(1e-9, time.perf_counter() - self.started)

    @property
    def wait_share(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return self.waited / max(1e-9, time.perf_counter() - self.started)


class Display:
    """A progress bar on a terminal, else a line every 30 seconds.

    Attributes:
        total: Steps of the run.
        done: Steps done.
        meter: Counts samples and waiting time.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console = console
        self.total, self.done = total, done
        self.meter = Meter()
        self._first = done
        self._printed = time.perf_counter()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def shown(self, on: bool) -> Iterator["Display"]:
        """Show the bar inside the block, if `on`."""
        if not (on and self.console.is_terminal) or terminal.is_quiet():
            yield self
            return
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Remaining(),
        ]
        with Progress(
            *columns, TextColumn("{task.fields[facts]}", markup=False), console=self.console
        ) as bar:
            self._bar = bar
            self._task = bar.add_task("", total=self.total, completed=self.done, facts="")
            yield self
            self._bar = None

    def step(self, where: str, loss: float, samples: int) -> None:
        """Count one step and show it.

        Args:
            where: Task and epoch.
            loss: The step's loss.
            samples: Samples of the step, over all processes.
        """
        self.done += 1
        self.meter.samples += samples
        meter = self.meter
        facts = f"loss {loss:.3f} · {meter.rate:.1f} samples/s · data wait {meter.wait_share:.0%}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=where, facts=facts)
        elif time.perf_counter() - self._printed > 30 and not terminal.is_quiet():
            self._printed = time.perf_counter()
            spent = self._printed - meter.started
            left = spent / max(1, self.done - self._first) * (self.total - self.done)
            self.console.print(
                f"{where}: step {self.done}/{self.total}, {left:.0f} s left, {facts}"
            )
