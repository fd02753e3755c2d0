"""Batches in the order of their steps, made by worker processes or by this one."""

import multiprocessing
import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch.utils.data import DataLoader, Dataset

from avstore.manifests.errors import first_sentence
from avstore.manifests.signals import out_of_reach
from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.collate import Steps
from avstore.train.data.order import EpochOrder
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, Policy
from avstore.train.data.threads import usual_threads

# How often dead workers are looked for.
_LOOK_S = 2.0


class LoaderError(StoreError):
    """Loading failed though the data may be well: a worker died or hung."""


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
    policy: Policy = DEFAULT_POLICY,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """This rank's batches of an epoch, from `start_step` on; position is that one integer.

    A global batch is the same for every world size and worker count; rank r takes its rows r,
    r + world_size, and so on. Raises StoreError for a sample that cannot be read, where the
    policy is to raise, and LoaderError where a worker process dies.
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
    """Batches of steps [start, stop) in order. Worker processes are started anew by each call.

    threads: of each process that makes batches; 0: as many as there are cores (at most 4) without
    workers, and one with them.
    The first batch is made here while the workers start. timeout_s: how long to wait for a batch
    of a worker before it counts as hung.
    """
    end = len(steps) if stop is None else min(stop, len(steps))
    pin_memory = pin_memory and torch.cuda.is_available()  # nothing else has a use for it
    steps = replace(steps, ahead=max(workers, 1), threads=threads or usual_threads(workers))
    if workers == 0 or start + 1 >= end:
        for step in range(start, end):
            batch = steps[step]
            yield batch.pin_memory() if pin_memory else batch
        return
    loader = DataLoader(
        _Told(steps),
        batch_size=None,
        sampler=range(start + 1, end),
        num_workers=min(workers, end - start - 1),
        multiprocessing_context=_context(),
        timeout=_LOOK_S,
        pin_memory=pin_memory,
    )
    with _script_left_alone(steps), out_of_reach():
        rest = _started(loader)
    first = steps[start]
    yield first.pin_memory() if pin_memory else first
    yield from _received(rest, start + 1, timeout_s)


def _started(loader: "DataLoader[Batch | _Failure]") -> "Iterator[Batch | _Failure]":
    """The loader's workers. Raises LoaderError where they cannot begin."""
    try:
        return iter(loader)
    except (BrokenPipeError, ConnectionError, EOFError) as error:
        raise LoaderError(
            "loader processes could not be started: they cannot import the order or dataset that "
            "they are given. Define its class in a module of its own (not in a notebook, on "
            'standard input, or in a script without `if __name__ == "__main__":`), or load '
            "without workers"
        ) from error


def _received(source: Iterator["Batch | _Failure"], step: int, timeout_s: float) -> Iterator[Batch]:
    """Batches of the workers; their failures as errors of this process."""
    began = time.monotonic()
    while True:
        try:
            got = next(source, None)
        except (RuntimeError, EOFError, OSError) as error:
            # Of a killed worker's half-sent batch, what torch raises depends on where it broke off.
            if isinstance(error, RuntimeError) and "DataLoader" not in str(error):
                raise
            if "in DataLoader worker" in str(error):  # an error of the worker's own
                raise
            # A DataLoader looks for dead workers only when its time-out ends, so it is a short one.
            if "timed out" in str(error) and time.monotonic() - began < timeout_s:
                continue
            raise LoaderError(
                f"a loader process ended or hung before step {step} ({first_sentence(error)})"
                "; out of memory? Use fewer workers or smaller batches; the run can go on from "
                "this step"
            ) from error
        if got is None:
            return
        if isinstance(got, _Failure):
            raise got.error
        yield got
        step, began = step + 1, time.monotonic()


@dataclass(frozen=True)
class _Failure:
    """A StoreError on its way from a worker, without the worker's traceback."""

    error: StoreError


@dataclass(frozen=True)
class _Told(Dataset["Batch | _Failure"]):
    """Steps that hand errors back instead of raising them."""

    steps: Steps

    def __getitem__(self, step: int) -> "Batch | _Failure":
        try:
            return self.steps[step]
        except StoreError as error:
            return _Failure(error)


@contextmanager
def _script_left_alone(steps: Steps) -> Iterator[None]:
    """Processes started here do not run the user's script again, as Python's own way is, so that
    it needs no `if __name__ == "__main__":`; but for one that defines what they are to work on."""
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
    """Workers are forked from a clean server that has loaded what they need: no threads, no GPU
    and none of this process's memory come with them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["avstore.train.data.collate"])
    return context
