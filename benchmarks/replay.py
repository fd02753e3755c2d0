"""Measure what replay costs: host memory beside the memory of rows, and a step as memory grows.

python -m benchmarks.replay --shards data
"""

import argparse
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avstore.train.data import (
    Augment,
    BatchSpec,
    ContinualPlan,
    Loader,
    PlanSpec,
    QuerySource,
    SampleList,
    open_store,
    sample_list,
)
from avstore.train.methods.host_memory import RehearsalMemory
from avstore.train.methods.kept import Kept
from avstore.train.systems.cavmae.model_config import ModelConfig
from benchmarks.common import table, write

ROWS = 2000
BATCH = 48
TASKS = (1, 5, 20)
MEMORIES = (500, 2000, 10_000, 50_000)
CLIPS = 20_000  # of a task, drawn from the store's


def main() -> None:
    """Measure, print two tables and write the numbers."""
    args = parse()
    held = {form.__name__: in_child(form) for form in (rows_of_pixels, numbers_and_embeddings)}
    table(
        f"host memory of {ROWS:,} remembered rows, ViT-B, 4 frames",
        ["form", "MB"],
        [[name.replace("_", " "), value] for name, value in held.items()],
    )
    samples = sample_list(open_store(args.shards), "SELECT clip_id FROM trainable")
    costs = [cost(samples, tasks, memory) for tasks in TASKS for memory in MEMORIES]
    table(
        f"the last steps of a run, batch {BATCH} + {BATCH} replayed, {CLIPS:,} clips a task",
        ["tasks", "memory", "steps", "start s", "rows of a step ms", "loaded samples/s"],
        [list(row.values()) for row in costs],
    )
    print(write("replay", {"host_memory_mb": held, "costs": costs}))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--shards", required=True, help="a store, or its shards folder")
    return p.parse_args()


def in_child(form: Any) -> float:
    """Return the megabytes of main memory that a form takes, in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return float(pool.apply(grown_by, (form,)))


def grown_by(form: Any) -> float:
    """Return the growth of this process's resident memory."""
    before = resident()
    kept = form()
    grown = resident() - before
    del kept
    return grown / 1e6


def resident() -> int:
    """Return the resident bytes of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def rows_of_pixels() -> RehearsalMemory:
    """Keep inputs in host memory, as ESMER does and every method did."""
    c, memory = ModelConfig(), RehearsalMemory(ROWS)
    for _ in range(ROWS // BATCH + 1):
        memory.add(
            {
                "video": torch.rand(BATCH, c.frames, 3, c.image_size, c.image_size),
                "audio": torch.rand(BATCH, 1, c.fbank_frames, c.mel_bins),
            }
        )
    return memory


def numbers_and_embeddings() -> Kept:
    """Keep what STELLA compares replayed rows with; the rows themselves are numbers of the plan."""
    c, kept = ModelConfig(), Kept(ROWS)
    shapes = {
        **dict.fromkeys(("z_a", "z_v"), (c.width,)),
        **dict.fromkeys(("q_a", "q_v"), (c.heads, c.width // c.heads)),
        **dict.fromkeys(("p_v", "i_v"), (c.video_tokens,)),
        **dict.fromkeys(("p_a", "i_a"), (c.audio_tokens,)),
    }
    values = {name: torch.rand(ROWS, *shape) for name, shape in shapes.items()}
    kept.write(torch.arange(ROWS), **values)
    return kept


def cost(samples: SampleList, tasks: int, memory: int) -> dict[str, float]:
    """Return the cost of the last steps of a run."""
    draw = np.random.default_rng(0)
    parts = tuple(
        QuerySource(f"task {n}", draw.integers(0, len(samples), CLIPS)) for n in range(tasks)
    )
    spec = PlanSpec(
        batch_size=BATCH, epochs=10, replay=BATCH, memory=memory, reservoirs=4, drop_last=True
    )
    plan = ContinualPlan(samples, parts, spec, seed=0)
    began = time.perf_counter()
    plan.rows(len(plan) - 1)
    start = time.perf_counter() - began
    times = []
    for step in draw.integers(len(plan) - 1000, len(plan), 50):
        began = time.perf_counter()
        plan.rows(int(step))
        times.append(time.perf_counter() - began)
    return {
        "tasks": tasks,
        "memory": memory,
        "steps": len(plan),
        "start_s": start,
        "rows_ms": 1000 * statistics.median(times),
        "samples_per_second": loaded(plan),
    }


def loaded(plan: ContinualPlan, steps: int = 6) -> float:
    """Return the rows a second that a loader delivers of the plan's last steps, in one process."""
    loader = Loader(
        plan, BatchSpec(BATCH, frames=4, image_size=224, augment=Augment(crop=True, noise=True))
    )
    loader.step = len(plan) - steps - 1
    batches = iter(loader)
    next(batches)
    began = time.perf_counter()
    rows = sum(len(batch) for batch in batches)
    return rows / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
