"""Load batches in the order of their steps, by worker processes or in this process."""

import multiprocessing
import pickle
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avstore.manifests.errors import first_sentence
from avstore.manifests.signals import out_of_reach
from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.order import EpochOrder
from avstore.train.data.samples import SampleList
from avstore.train.data.shared_batches import PackedBatch, SlotUse, make_slots, pack
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, ErrorPolicy
from avstore.train.data.steps import Steps, default_threads

# How often to look for dead workers.
_POLL_S = 2.0
# Batches that each worker loads before they are asked for.
_AHEAD = 2
# Batches that the caller may hold before others are copied.
_HELD = 3


class LoaderError(StoreError):
    """A worker process died or hung; the data may be intact.

    The run can continue from the step that the error names.

    Example:
        >>> loader = Loader(samples, BatchSpec(batch_size=12, frames=1, image_size=24))
        >>> try:
        ...     for batch in loader:
        ...         pass
        ... except LoaderError as error:
        ...     state = loader.state_dict()
    """


def batches(
    samples: SampleList,
    spec: BatchSpec,
    *,
    seed: int,
    epoch: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    policy: ErrorPolicy = DEFAULT_POLICY,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Yield this rank's batches of an epoch, from `start_step` on.

    A global batch is the same for every world size and number of workers; rank r takes its rows r,
    r + world_size, and so on.

    Args:
        samples: The list.
        spec: Settings.
        seed: Seed in [0, 2^64).
        epoch: Epoch, from 0.
        start_step: First step.
        rank: This process's rank.
        world_size: Number of ranks.
        workers: Worker processes; 0 loads in this process.
        policy: What to do about samples that cannot be read.
        pin_memory: Whether to put batches into page-locked memory, if there is a GPU.

    Raises:
        StoreError: If a sample cannot be read and the policy is to raise.
        LoaderError: If a worker process dies.

    Example:
        >>> spec = BatchSpec(batch_size=4, frames=1, image_size=24)
        >>> [len(batch) for batch in batches(samples, spec, seed=0, epoch=2, start_step=3)]
        [4, 4, 3]
    """
    order = EpochOrder(samples, spec, seed, epoch)
    yield from stream(
        Steps(order, spec, policy, rank, world_size), start_step, workers, pin_memory=pin_memory
    )


def stream(
    steps: Steps,
    start: int = 0,
    workers: int = 0,
    *,
    stop: int | None = None,
    threads: int = 0,
    pin_memory: bool = False,
    timeout_s: float = 600.0,
) -> Iterator[Batch]:
    """Yield the batches of steps [start, stop) in order.

    Each call starts its own worker processes, after the first batch was loaded here. Their batches
    are in memory that is shared, and used again once nobody holds a batch.

    Args:
        steps: The steps.
        start: First step.
        workers: Worker processes; 0 loads in this process.
        stop: Step after the last; None for all.
        threads: Threads of each process that loads; 0 for one with workers, else one for each core,
            at most 4.
        pin_memory: Whether to put batches into page-locked memory, if there is a GPU.
        timeout_s: Seconds to wait for a worker's batch before the worker counts as hung.

    Raises:
        StoreError: If a sample cannot be read and the policy is to raise.
        LoaderError: If a worker process dies or hangs.

    Example:
        >>> spec = BatchSpec(batch_size=4, frames=1, image_size=24)
        >>> steps = Steps(EpochOrder(samples, spec, seed=0), spec)
        >>> [batch.step for batch in stream(steps, start=1, stop=3)]
        [1, 2]
    """
    end = len(steps) if stop is None else min(stop, len(steps))
    steps = replace(steps, ahead=max(workers, 1), threads=threads or default_threads(workers))
    alone = workers == 0 or start + 1 >= end
    found = map(steps.__getitem__, range(start, end))
    loaded = found if alone else _from_workers(steps, start, end, workers, timeout_s)
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


def _from_workers(
    steps: Steps, start: int, end: int, workers: int, timeout_s: float
) -> Iterator[Batch]:
    """Yield the batches of steps [start, end), the first loaded here and the others by workers."""
    first = steps[start]
    workers = min(workers, end - start - 1)
    slots = make_slots(first, min(workers * _AHEAD + _HELD, end - start - 1))
    use = SlotUse(slots)
    loader = DataLoader(
        _PackedSteps(steps, slots),
        batch_size=None,
        sampler=_SlotSampler(use, range(start + 1, end)),
        num_workers=workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context=_context(),
        timeout=_POLL_S,
    )
    with _without_main_module(steps), out_of_reach():
        rest = _start_workers(loader)
    yield first
    del first
    yield from map(use.unpack, _receive(rest, start + 1, timeout_s))


def _start_workers(
    loader: "DataLoader[PackedBatch | _Failure]",
) -> "Iterator[PackedBatch | _Failure]":
    """Start the loader's workers. Raises LoaderError if they cannot start."""
    try:
        return iter(loader)
    except (BrokenPipeError, ConnectionError, EOFError) as error:
        raise LoaderError(
            "loader processes could not be started: they cannot import the order or dataset that "
            "they are given. Define its class in a module of its own (not in a notebook, on "
            'standard input, or in a script without `if __name__ == "__main__":`), or load '
            "without workers"
        ) from error


def _receive(
    source: Iterator["PackedBatch | _Failure"], step: int, timeout_s: float
) -> Iterator[PackedBatch]:
    """Yield the workers' batches; raise their failures in this process."""
    waiting_since = time.monotonic()
    while True:
        try:
            item = next(source, None)
        except (RuntimeError, EOFError, OSError) as error:
            # If a worker is killed while it sends, torch's exception depends on how far it came.
            if isinstance(error, RuntimeError) and "DataLoader" not in str(error):
                raise
            if "in DataLoader worker" in str(error):  # an exception raised in the worker
                raise
            # DataLoader notices dead workers only when its time-out ends, so it is a short one.
            if "timed out" in str(error) and time.monotonic() - waiting_since < timeout_s:
                continue
            raise LoaderError(
                f"a loader process ended or hung before step {step} ({first_sentence(error)})"
                "; out of memory? Use fewer workers or smaller batches; the run can go on from "
                "this step"
            ) from error
        if item is None:
            return
        if isinstance(item, _Failure):
            raise item.error
        yield item
        step, waiting_since = step + 1, time.monotonic()


@dataclass(frozen=True)
class _Failure:
    """A StoreError of a worker, sent without the worker's traceback."""

    error: StoreError


@dataclass(frozen=True)
class _PackedSteps(Dataset["PackedBatch | _Failure"]):
    """Steps that are packed into slots; a StoreError is returned and not raised.

    An item is a step and a slot, or None.
    """

    steps: Steps
    slots: tuple[Tensor, ...]

    def __getitem__(self, item: tuple[int, int | None]) -> "PackedBatch | _Failure":
        step, slot = item
        try:
            return pack(lambda: self.steps[step], self.slots, slot)
        except StoreError as error:
            return _Failure(error)


@dataclass(frozen=True)
class _SlotSampler(Sampler[tuple[int, int | None]]):
    """Steps, each with a slot that is free when the step is asked for."""

    use: SlotUse
    steps: range

    def __iter__(self) -> Iterator[tuple[int, int | None]]:
        for step in self.steps:
            yield step, self.use.take()

    def __len__(self) -> int:
        return len(self.steps)


@contextmanager
def _without_main_module(steps: Steps) -> Iterator[None]:
    """Keep Python from running the user's script again in each process started here.

    So the script needs no `if __name__ == "__main__":`, unless it defines a class that the steps
    use: then it must be run again.
    """
    if b"__main__" in pickle.dumps(steps):
        yield
        return
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _context() -> multiprocessing.context.BaseContext:
    """Return a context that forks workers from a server which has imported what they need.

    They inherit no threads, no GPU and no memory of this process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["avstore.train.data.steps"])
    return context
