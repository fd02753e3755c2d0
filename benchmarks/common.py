"""What every benchmark shares: CPU seconds of processes, host facts, a table, a JSON file."""

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


def child_cpu(command: Sequence[str | Path]) -> float:
    """CPU seconds (user and system) of a command and all that it starts."""
    return cpu_of(lambda: subprocess.run(command, check=True, capture_output=True), children=True)


def cpu_of(work: Callable[[], Any], children: bool = False) -> float:
    """CPU seconds of this process during `work`, or of the children it waited for."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternately(times: int, *works: Callable[[], float]) -> list[float]:
    """The median of each, measured in turns."""
    rows = [[work() for work in works] for _ in range(times)]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and most."""
    known = sorted(values)
    return {"median": statistics.median(known), "min": known[0], "max": known[-1]}


def host() -> dict[str, Any]:
    """What a number cannot be read without."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(": ", 1)[1] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def write(name: str, result: dict[str, Any]) -> Path:
    """The result as JSON under benchmarks/out/, host facts with it."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps({"host": host(), **result}, indent=1))
    return path


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; floats with three digits."""
    shown = Table(*header, title=title)
    for row in rows:
        shown.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row))
    Console(width=140).print(shown)
