"""What both benchmarks of training steps share: options, clocks, the machine's ceiling, memory."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# As train/run.py does, and before torch is imported: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import psutil
import torch
from torch import nn

from avstore.train.progress import Meter

_SAMPLE_S = 0.5


def add_options(p: argparse.ArgumentParser, batch: int) -> None:
    """Add the options that both benchmarks have.

    Args:
        p: The parser.
        batch: Default number of rows.
    """
    p.add_argument("--size", choices=["tiny", "full"], default="tiny", help="model (default: tiny)")
    p.add_argument("--batch", type=int, default=batch, help=f"rows of a batch (default: {batch})")
    p.add_argument("--steps", type=int, default=10, help="steps to measure (default: 10)")
    p.add_argument("--workers", type=int, default=1, help="loader processes (default: 1)")
    p.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="of the forward pass of the trainer's form (default: fp32)",
    )
    p.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N (default: cuda if available)",
    )
    p.add_argument("--work", help=argparse.SUPPRESS)  # what a process of its own does


@dataclass
class Stopwatch:
    """The clock, and the time waited for data, after each step; a tracker of the training loop.

    Attributes:
        meter: Measures the waiting.
        times: Clock time after each step, in seconds.
        waits: Seconds waited for data until then.
    """

    meter: Meter = field(default_factory=Meter)
    times: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def log(self, values: dict[str, float], step: int) -> None:
        """Note the time after a step."""
        self.times.append(time.perf_counter())
        self.waits.append(self.meter.waited)

    def result(self, first: int) -> dict[str, float]:
        """Return the seconds of a step and the share of them waited, after step `first`."""
        took = self.times[-1] - self.times[first]
        steps = [b - a for a, b in zip(self.times[first:], self.times[first + 1 :], strict=False)]
        return {
            "step_s": took / len(steps),
            "median_step_s": statistics.median(steps),
            "wait_share": (self.waits[-1] - self.waits[first]) / took,
        }


def loading_cpu(batches: Iterator[Any], count: int = 5) -> float:
    """Return the CPU seconds of a batch that this process loads, without other work."""
    next(batches)
    begin = time.process_time()
    for _ in range(count):
        next(batches)
    return (time.process_time() - begin) / count


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds that `work` takes, with an empty device queue before and after."""
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def synchronise(device: torch.device) -> None:
    """Wait until the device's queue is empty."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_flops(device: torch.device, precision: str) -> float:
    """Return the floating-point operations a second of one large product, the ceiling."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(timed(lambda: a @ b, device) for _ in range(8))
    return 2 * size**3 / best


def write_attention_out(module: nn.Module) -> None:
    """Make every attention of a model compute its whole softmax."""
    for part in module.modules():
        if hasattr(part, "plain"):
            part.plain = True  # type: ignore[assignment]


def name_of(device: torch.device) -> str:
    """Return the device's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


def device_peak(device: torch.device) -> dict[str, float | None]:
    """Return the most device memory that this process had allocated, in MB; None on a CPU."""
    cuda = device.type == "cuda"
    return {"device_mb": torch.cuda.max_memory_allocated(device) / 1e6 if cuda else None}


def apart(module: str, *words: str) -> dict[str, Any]:
    """Run a benchmark with more arguments in a process of its own.

    Returns:
        The JSON of the last line that it prints, and under `host_mb` the most memory that it and
        its children had together, in MB; memory that they share counts once.
    """
    command = [sys.executable, "-m", module, *sys.argv[1:], *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = _Peak(process.pid)
        peak.start()
        printed, _ = process.communicate()
        peak.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    return {**json.loads(printed.splitlines()[-1]), "host_mb": peak.most / 1e6}


class _Peak(threading.Thread):
    """Samples the memory of a process and its descendants until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._process = psutil.Process(pid)

    def run(self) -> None:
        while True:
            try:
                running = [self._process, *self._process.children(recursive=True)]
                self.most = max(self.most, sum(_proportional(each) for each in running))
            except psutil.NoSuchProcess:
                return
            if self._process.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(_SAMPLE_S)


def _proportional(process: psutil.Process) -> int:
    """Return the resident bytes of a process; shared ones are divided among those that share."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # it ended meanwhile
        return 0
