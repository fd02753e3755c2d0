"""Load batches in the order of their steps, by worker processes or in this process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from avstore.train.data.batch import Batch
from avstore.train.data.steps import Steps, default_threads
from avstore.train.data.worker_pool import AHEAD, HELD, lent_pool


def stream(
    steps: Steps,
    start: int = 0,
    workers: int = 0,
    *,
    threads: int = 0,
    pin_memory: bool = False,
    timeout_s: float = 600.0,
) -> Iterator[Batch]:
    """Yield the batches of the steps from `start` on, in order.

    Args:
        steps: The steps.
        start: First step.
        workers: Worker processes; 0 loads in this process.
        threads: Threads of each process that loads; 0 for one with workers, else one for each core,
            at most 4.
        pin_memory: Whether to put batches into page-locked memory, if there is a GPU.
        timeout_s: Seconds to wait for a worker's batch before the worker counts as hung.

    Raises:
        StoreError: If a sample cannot be read and the policy is to raise.
        LoaderError: If a worker process dies or hangs.
    """
    end = len(steps)
    workers = max(min(workers, end - start), 0)
    steps = replace(steps, ahead=max(workers, 1), threads=threads or default_threads(workers))
    if workers and start + 1 < end:
        loaded = _from_workers(steps, start, workers, timeout_s)
    else:
        loaded = map(steps.__getitem__, range(start, end))
    # Only a GPU makes use of page-locked memory.
    pinned = pin_memory and torch.cuda.is_available()
    yield from _pinned(loaded) if pinned else loaded


def _pinned(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches in page-locked memory; a thread copies each while the one before is used."""

    def following() -> Batch | None:
        batch = next(batches, None)
        return None if batch is None else batch.pin_memory()

    with ThreadPoolExecutor(1, thread_name_prefix="pin") as pool:
        coming = pool.submit(following)
        while (batch := coming.result()) is not None:
            coming = pool.submit(following)
            yield batch


def _from_workers(steps: Steps, start: int, workers: int, timeout_s: float) -> Iterator[Batch]:
    """Yield the batches of the steps from `start` on, each worker's in turn.

    This process loads the first one, to learn how large batches are, unless the workers have made
    batches of these settings before.
    """
    end, under_way = len(steps), workers * AHEAD
    slots = min(under_way + HELD, end - start)
    with lent_pool() as pool:
        pool.begin(steps, workers)
        first = None
        if not pool.fits(steps.spec, slots):
            first = steps[start]
            pool.fit(first, steps.spec, slots)
            start += 1

        def ask(step: int) -> None:
            if step < end:
                pool.ask((step - start) % workers, step)

        for step in range(start, start + under_way):
            ask(step)
        if first is not None:
            yield first
            del first
        for step in range(start, end):
            batch = pool.receive((step - start) % workers, step, timeout_s)
            ask(step + under_way)
            yield batch
            del batch
