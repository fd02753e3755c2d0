"""What a person sees while a run goes on."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

Item = TypeVar("Item")


class Meter:
    """Counts samples and the time spent waiting for data."""

    def __init__(self) -> None:
        self.samples = 0
        self.waited = 0.0
        self.started = time.perf_counter()

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time until each arrives counts as waiting."""
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
        """Part of the time that was spent waiting for data, 0 to 1."""
        return self.waited / max(1e-9, time.perf_counter() - self.started)


class Display:
    """A progress line on a terminal; a line every half minute where there is none."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self.console = console
        self.total, self.done = total, done
        self.meter = Meter()
        self._first = done
        self._told = time.perf_counter()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def shown(self, on: bool) -> Iterator["Display"]:
        """Show while inside."""
        if not (on and self.console.is_terminal):
            yield self
            return
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining()]
        with Progress(*columns, TextColumn("{task.fields[facts]}"), console=self.console) as bar:
            self._bar = bar
            self._task = bar.add_task("", total=self.total, completed=self.done, facts="")
            yield self
            self._bar = None

    def step(self, where: str, loss: float, samples: int) -> None:
        """One step more."""
        self.done += 1
        self.meter.samples += samples
        meter = self.meter
        facts = f"loss {loss:.3f} · {meter.rate:.1f} samples/s · data wait {meter.wait_share:.0%}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=where, facts=facts)
        elif time.perf_counter() - self._told > 30:
            self._told = time.perf_counter()
            spent = self._told - meter.started
            left = spent / max(1, self.done - self._first) * (self.total - self.done)
            self.console.print(
                f"{where}: step {self.done}/{self.total}, {left:.0f} s left, {facts}"
            )
