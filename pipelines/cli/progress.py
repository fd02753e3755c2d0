"""Show progress: a bar on a terminal, otherwise a line every ten seconds."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
from avstore.pipelines.build.meter import Meter

if TYPE_CHECKING:
    from avstore.manifests.store import Store

_LINE_EVERY_S = 10.0


@contextmanager
def bar(console: Console, title: str, total: int, unit: str = "clips") -> Iterator[Meter]:
    """Show the progress of the block.

    Args:
        console: Console to write to.
        title: Name of the work, such as "extract".
        total: Number of units of work.
        unit: Plural of the unit.

    Yields:
        The meter to call with the number of units just finished.
    """
    meter = Meter(title, total, unit)
    if is_quiet():
        yield meter
        return
    if not console.is_terminal:
        with _lines(console, meter):
            yield meter
        return
    columns = (
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", markup=False),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(title, total=total, unit=unit, failed="")

        def show() -> None:
            progress.update(task, completed=meter.done, failed=failures_text(meter.failures))

        meter.changed = show
        yield meter


@contextmanager
def _lines(console: Console, meter: Meter) -> Iterator[None]:
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            console.print(stage_text(meter.facts()))

    meter.changed = show
    try:
        yield
    finally:
        meter.close()
        console.print(stage_text(meter.facts()))


def stage_text(facts: Mapping[str, Any]) -> str:
    """Return the progress of a stage (`Meter.facts`) in one line."""
    from avstore.pipelines.fetch.rate_limit import format_duration

    unit, running = facts["unit"], facts["running"]
    parts = [f"{facts['stage']}: {facts['done']} of {facts['total']} {unit}"]
    if facts["kept"]:
        parts.append(f"{facts['kept']} of them kept from an earlier run")
    if facts["per_second"] and unit != "percent":
        parts.append(rate_text(facts["per_second"], unit))
    if facts["per_second_last_minute"] is not None and facts["seconds"] > 60:
        parts.append(f"{rate_text(facts['per_second_last_minute'], unit)} in the last minute")
    if facts["seconds_left"]:
        parts.append(f"{format_duration(facts['seconds_left'])} left")
    parts.append(f"{facts['seconds']:.{0 if running else 1}f} s")
    failed = failures_text(facts["failures"])
    return ", ".join(parts) + (f"; {failed}" if failed else "")


def rate_text(per_second: float, unit: str) -> str:
    """Return a rate in units a second, minute or hour, so that it is at least about one."""
    for name, seconds in (("s", 1.0), ("min", 60.0)):
        if (rate := per_second * seconds) >= 1.0:
            return f"{rate:,.0f} {unit}/{name}" if rate >= 100 else f"{rate:.3g} {unit}/{name}"
    return f"{per_second * 3600:.3g} {unit}/h"


def failures_text(failures: Mapping[str, int]) -> str:
    """Return failed clips by reason; empty without any."""
    counts = sorted(((n, reason) for reason, n in failures.items() if n > 0), reverse=True)
    return "failed: " + ", ".join(f"{reason} {n}" for n, reason in counts) if counts else ""


def kept_text(store: "Store", companions: bool = False) -> str | None:
    """Return how much interrupted builds keep of shards they did not finish; None if nothing.

    Args:
        store: The store's paths.
        companions: Count values of derived features instead of extracted clips.
    """
    from avstore.manifests.partials import count_kept

    clips, shards = count_kept(store, companions)
    if not clips:
        return None
    things = f"{'feature value' if companions else 'extracted clip'}{'s' * (clips > 1)}"
    verb = "are" if clips > 1 else "is"
    return f"{clips} {things} {verb} kept in {shards} partial shard{'s' * (shards > 1)}"


@contextmanager
def naming_what_is_kept(store: "Store", out: Console, companions: bool = False) -> Iterator[None]:
    """Print how much is kept (see `kept_text`) if the block, a build, does not reach its end."""
    from duckdb import Error

    from avstore.pipelines.fetch.source import MachineError

    try:
        yield
    except (KeyboardInterrupt, MachineError, OSError, Error):  # Ctrl-C may reach DuckDB
        if kept := kept_text(store, companions):
            out.print(f"{kept}: run the same command again to continue")
        raise
