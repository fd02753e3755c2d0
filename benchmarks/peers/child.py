"""Run passes of one loader on request: a line of JSON each, in and out.

    python -m benchmarks.peers.child LOADER INDEX FOLDER

A request names a job, the worker processes and the clips to take; the answer has the seconds, and
the CPU seconds of this process and all that it started. An empty request ends the loaders.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil


def tree_cpu() -> float:
    """CPU seconds of this process and all below it, ended ones included."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:  # it ended, and counts for its parent
            continue
    return total


def make(name: str, index: Path, folder: Path, job: str, workers: int, clips: int) -> Any:
    """Return batches of a loader by its name."""
    if name == "avstore":
        from benchmarks.peers.ours import ours

        return ours(folder, job, workers, clips)
    import torch

    from benchmarks.peers.decoding import JOBS, read_clips
    from benchmarks.peers.loaders import PEERS

    torch.set_num_threads(1)
    return PEERS[name](read_clips(index)[:clips], folder / f"{clips}", JOBS[job], workers)


def main() -> None:
    """Answer requests until the input ends."""
    name, index, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    loaders: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if not request:
                loaders.clear()
                answer: dict[str, Any] = {}
            else:
                if line not in loaders:
                    loaders[line] = make(name, index, folder, **request)
                cpu, began = tree_cpu(), time.perf_counter()
                clips = sum(_rows(batch) for batch in loaders[line])
                taken = time.perf_counter() - began
                answer = {"clips": clips, "seconds": taken, "cpu": tree_cpu() - cpu}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def _rows(batch: Any) -> int:
    """Return the rows of a batch."""
    if hasattr(batch, "clip_ids"):
        return len(batch)
    return len(next(iter(batch.values())))


if __name__ == "__main__":
    main()
