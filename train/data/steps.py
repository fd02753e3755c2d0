"""Load the batch of any step: request, read, decode, augment and collate its samples."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TypeVar

import numpy as np
from torch.utils.data import Dataset

from avstore.manifests.members import invalidate
from avstore.manifests.shard_reader import BadSample, BadSampleError, Reader
from avstore.train.data.augment import augment
from avstore.train.data.batch import Batch
from avstore.train.data.buffers import BatchBuffer, OutputBuffers
from avstore.train.data.collate import collate
from avstore.train.data.decode import DecodedSample, decode
from avstore.train.data.hooks import transform_batch, transform_sample
from avstore.train.data.order import Order, Rows, row_key
from avstore.train.data.read import prefetch, read
from avstore.train.data.request import SampleRequest, request_rows, try_request
from avstore.train.data.rng import Purpose
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, ErrorPolicy

T = TypeVar("T")
_LOG = logging.getLogger("avstore")
# Samples that are tried for one row.
_MAX_TRIES = 16
# More threads hardly help: only reading, decoding and converting release Python's lock.
_MAX_THREADS = 4


@dataclass(frozen=True)
class Steps(Dataset[Batch]):
    """The batches of an order for one rank, as a map-style dataset: item i is step i.

    It works in a stock DataLoader with batch_size=None, from any step on (sampler=range(start,
    len(steps))), and in torchdata's StatefulDataLoader. A batch with fewer rows than there are
    ranks is filled up with repeated rows, marked in `Batch.padded`, so that all ranks take equally
    many steps.

    Attributes:
        order: The order.
        spec: Settings.
        policy: What to do about samples that cannot be read.
        rank: This process's rank.
        world_size: Number of ranks.
        ahead: How many steps later this process's next step is, to prefetch from a remote store
            (0: no prefetching).
        threads: Samples that are loaded at the same time; it does not change the batches.

    Raises:
        ValueError: If `rank` is not in [0, world_size), or all batches have fewer rows than ranks.

    Example:
        >>> spec = BatchSpec(batch_size=4, frames=1, image_size=24)
        >>> steps = Steps(EpochOrder(samples, spec, seed=0), spec)
        >>> len(steps), steps[5].clip_ids == steps[5].clip_ids
        (6, True)
        >>> from torch.utils.data import DataLoader
        >>> [batch.step for batch in DataLoader(steps, batch_size=None)]
        [0, 1, 2, 3, 4, 5]
        >>> [batch.step for batch in DataLoader(steps, batch_size=None, sampler=range(4, 6))]
        [4, 5]
    """

    order: Order
    spec: BatchSpec
    policy: ErrorPolicy = DEFAULT_POLICY
    rank: int = 0
    world_size: int = 1
    ahead: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not in [0, {self.world_size}), the world size")
        if self.world_size == 1 or not len(self.order):
            return
        first, last = (len(self.order.rows(step)) for step in (0, len(self.order) - 1))
        if first < self.world_size and len(self.order) > 1:
            raise ValueError(
                f"a batch has {first} sample(s) for {self.world_size} ranks: make batch_size at "
                f"least {self.world_size}, or use fewer ranks"
            )
        if last < self.world_size and self.rank == 0:
            _LOG.warning(
                "the last batch has %d sample(s) for %d ranks: %d row(s) repeat others, marked in "
                "Batch.padded; drop_last leaves the batch out, pad_last fills it",
                *(last, self.world_size, self.world_size - last),
            )

    def __len__(self) -> int:
        return len(self.order)

    def rows(self, step: int) -> Rows:
        """Return this rank's rows of a step: at least one, if need be a repeated one."""
        return self.order.rows(step).filled(self.world_size).part(self.rank, self.world_size)

    def __getitem__(self, step: int) -> Batch:
        rows, next_step = self.rows(step), step + self.ahead
        following = self.rows(next_step) if self.ahead and next_step < len(self) else None
        with prefetch(self.order, rows, following, self.spec, self.policy):
            return load_batch(self.order, rows, self.spec, self.policy, self.threads)


def load_batch(
    order: Order, rows: Rows, spec: BatchSpec, policy: ErrorPolicy, threads: int = 1
) -> Batch:
    """Load the batch of these rows.

    Raises:
        BadSampleError: If a sample cannot be read and the policy is to raise, or none can be read.
    """
    spec = spec.at(rows.step)
    # All requests come first: between the large copies of samples they take three times as long.
    requests = request_rows(order, rows, spec, policy)
    clips, count = spec.clips, len(rows) * spec.clips
    frames, fbanks = BatchBuffer(count, "frames"), BatchBuffer(count, "fbanks")
    features = {name: BatchBuffer(count, name) for name in spec.features}

    def load_row(row: int) -> tuple[list[DecodedSample], list[BadSample]]:
        first = row * clips
        own = requests[first : first + clips]
        candidates = chain([own], _replacements(order, rows, row, spec, policy))
        out = [OutputBuffers(first + clip, frames, fbanks, features) for clip in range(clips)]
        return _first_readable(candidates, order.samples, spec, policy, out)

    loaded = list(_map_threads(load_row, len(rows), threads))
    problems = tuple(problem for _, found in loaded for problem in found)
    kept = [row for row, (decoded, _) in enumerate(loaded) if decoded]
    if not kept:
        reasons = "; ".join(str(problem) for problem in problems[:3])
        raise BadSampleError(
            f"every sample of step {rows.step} is bad: {reasons}; a batch needs at least one "
            "readable sample; run avstore verify"
        )
    samples = [sample for decoded, _ in loaded for sample in decoded]
    kept_rows = rows.take(np.array(kept))
    batch = collate(order.samples, kept_rows, samples, spec, frames, fbanks, features, problems)
    if not spec.batch_transform:
        return batch
    return transform_batch(spec.batch_transform, batch, order, kept_rows, spec)


def _first_readable(
    candidates: Iterable[Sequence[SampleRequest | BadSampleError]],
    samples: SampleList,
    spec: BatchSpec,
    policy: ErrorPolicy,
    out: Sequence[OutputBuffers],
) -> tuple[list[DecodedSample], list[BadSample]]:
    """Return the clips of the first sample that can be loaded, and the problems until then.

    None are returned if the policy skips it.
    """
    problems: list[BadSample] = []
    for clips in candidates:
        try:
            return [
                _load_clip(request, samples, spec, own)
                for request, own in zip(clips, out, strict=True)
            ], problems
        except BadSampleError as error:
            if policy.on_bad == "raise" or isinstance(error.problem, str):
                raise
            problems.append(error.problem)
        if policy.on_bad == "skip":
            return [], problems
    raise BadSampleError(
        f"no usable sample after {_MAX_TRIES} tries; the last: {problems[-1]}; run avstore verify"
    )


def _load_clip(
    request: SampleRequest | BadSampleError,
    samples: SampleList,
    spec: BatchSpec,
    out: OutputBuffers,
) -> DecodedSample:
    """Return a clip of a sample. Raises BadSampleError if it cannot be loaded."""
    if isinstance(request, BadSampleError):
        raise request
    return load_sample(request, samples, spec, samples.reader, out)


def _replacements(
    order: Order, rows: Rows, row: int, spec: BatchSpec, policy: ErrorPolicy
) -> Iterator[list[SampleRequest | BadSampleError]]:
    """Draw samples to replace a bad one; nothing is drawn before the first is taken."""
    generator = row_key(order, rows, row).generator(Purpose.REPLACE)
    words = generator.bit_generator.random_raw(_MAX_TRIES - 1)
    pool = order.pool(rows, row)
    for word in words.tolist():
        index = int(pool[word % len(pool)])
        yield [
            try_request(order, rows, row, index, spec, policy, clip) for clip in range(spec.clips)
        ]


def load_sample(
    request: SampleRequest,
    samples: SampleList,
    spec: BatchSpec,
    reader: Reader,
    out: OutputBuffers | None = None,
) -> DecodedSample:
    """Read, decode, augment and transform one sample.

    Raises:
        BadSampleError: If it, or the partner that it is mixed with, cannot be read or decoded.
    """
    # What may be mixed or transformed is not written to the batch before it is.
    direct = None if spec.transform else out
    sample = _read_and_decode(request, spec, reader, None if request.mixing else direct)
    partner = _read_and_decode(request.partner, spec, reader) if request.partner else None
    sample = augment(sample, partner, request, spec, direct)
    if not spec.transform:
        return sample
    return transform_sample(spec.transform, sample, request.random, spec, samples, out)


def _read_and_decode(
    request: SampleRequest, spec: BatchSpec, reader: Reader, out: OutputBuffers | None = None
) -> DecodedSample:
    """Read and decode; once more if the reader held an old copy of the bytes."""
    contents = read(request, reader, out, spec)
    try:
        return decode(request, contents, spec, out)
    except BadSampleError:
        if not any([invalidate(reader, request.members), invalidate(reader, request.groups)]):
            raise
    contents = read(request, reader, out, spec)
    try:
        return decode(request, contents, spec, out)
    except BadSampleError:
        invalidate(reader, request.members)  # a cache must not keep what does not decode
        raise


def default_threads(workers: int) -> int:
    """Return the threads of each process: one with workers, else one for each core, at most 4."""
    if workers:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MAX_THREADS)


def _map_threads(function: Callable[[int], T], count: int, threads: int) -> Iterable[T]:
    """Return function(0), function(1), … in this order, called by several threads."""
    if threads <= 1:
        return map(function, range(count))
    return _thread_pool(threads, os.getpid()).map(function, range(count))


@lru_cache(maxsize=4)
def _thread_pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return this process's pool: a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="samples")
