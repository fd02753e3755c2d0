"""Show progress: a bar on a terminal, otherwise a line every ten seconds."""

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

from avstore.manifests.terminal import is_quiet

Advance = Callable[[int], None]
_LINE_EVERY_S = 10.0


@contextmanager
def bar(console: Console, title: str, total: int, unit: str = "clips") -> Iterator[Advance]:
    """Show the progress of the block.

    Args:
        console: Console to write to.
        title: Name of the work, such as "extract".
        total: Number of units of work.
        unit: Plural of the unit.

    Yields:
        A function to call with the number of units just finished.
    """
    if is_quiet():
        yield lambda steps: None
        return
    if not console.is_terminal:
        with _lines(console, title, total, unit) as advance:
            yield advance
        return
    columns = (
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(title, total=total, unit=unit)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def _lines(console: Console, title: str, total: int, unit: str) -> Iterator[Advance]:
    started = last = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            console.print(f"{title}: {done} of {total} {unit}, {last - started:.0f} s")

    yield advance
    console.print(f"{title}: {done} of {total} {unit}, {time.monotonic() - started:.1f} s")
