"""What a person sees while a build runs: a bar a stage on a terminal, a line now and then else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]
_EVERY_S = 10.0


@contextmanager
def bar(console: Console, title: str, total: int, unit: str = "clips") -> Iterator[Advance]:
    """Show work of `total` steps; the block calls what it is given with the steps just done."""
    if not console.is_terminal:
        with _lines(console, title, total, unit) as advance:
            yield advance
        return
    columns = (
        TextColumn(f"{title:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def _lines(console: Console, title: str, total: int, unit: str) -> Iterator[Advance]:
    began = last = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            console.print(f"{title}: {done} of {total} {unit}, {last - began:.0f} s")

    yield advance
    console.print(f"{title}: {done} of {total} {unit}, {time.monotonic() - began:.1f} s")


def console() -> Console:
    """Where commands speak: standard error stays free for errors."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)
