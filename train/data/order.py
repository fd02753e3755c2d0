"""Which samples a step holds: a pure function of (list, settings, seed, epoch, step)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.train.data.rng import Purpose, permutation, uniform, words
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import BatchSpec

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one global batch, or one rank's part of it.

    indices: into the sample list. places: what the random choices of each row are drawn from,
    together with `epoch`; no two rows of a run have the same pair. origin: number of the source
    (a mixture's query; in a plan 0 is the task, 1 the replay). padded: rows that fill a batch up.
    """

    step: int
    epoch: int
    indices: Indices
    places: Indices
    origin: NDArray[np.int16]
    padded: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, rank: int, world_size: int) -> "Rows":
        """What rank `rank` takes: rows rank, rank + world_size, and so on."""
        own = slice(rank, None, world_size)
        return Rows(
            self.step,
            self.epoch,
            self.indices[own],
            self.places[own],
            self.origin[own],
            self.padded[own],
        )


class Order(Protocol):
    """Anything that says which samples each step holds."""

    @property
    def samples(self) -> SampleList:
        """What `Rows.indices` point into."""
        ...

    @property
    def seed(self) -> int:
        """What every random choice starts from."""
        ...

    def __len__(self) -> int:
        """Steps."""
        ...

    def rows(self, step: int) -> Rows:
        """The global batch of a step."""
        ...

    def pool(self, rows: Rows, at: int) -> Indices:
        """Indices of samples that may stand in for the row at `at`, or be mixed with it."""
        ...


def steps_per_epoch(samples: SampleList, spec: BatchSpec) -> int:
    """Batches an epoch, the same on every rank."""
    whole, rest = divmod(len(samples), spec.batch_size)
    return whole if spec.drop_last or not rest else whole + 1


@dataclass(frozen=True)
class EpochOrder:
    """One epoch over a list, each sample once (or as many draws by weight)."""

    samples: SampleList
    spec: BatchSpec
    seed: int
    epoch: int = 0

    def __len__(self) -> int:
        return steps_per_epoch(self.samples, self.spec)

    def rows(self, step: int) -> Rows:
        order = epoch_order(self.samples, self.spec, self.seed, self.epoch)
        start = step * self.spec.batch_size
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is not one of the epoch's {len(self)}")
        stop = start + self.spec.batch_size
        places = np.arange(start, stop if self.spec.pad_last else min(stop, len(order)))
        return Rows(
            step,
            self.epoch,
            order[places % len(order)],
            places,
            np.zeros(len(places), np.int16),
            places >= len(order),
        )

    def pool(self, rows: Rows, at: int) -> Indices:
        return self.samples.everywhere


def epoch_order(samples: SampleList, spec: BatchSpec, seed: int, epoch: int) -> Indices:
    """Indices into the list, in the order of an epoch.

    full: a permutation. block: shards in random order, and windows of `block` samples of that
    permuted. sequential: as stored. listed: as in the list. weighted: draws with replacement.
    """
    if spec.weighted:
        return _cached(_Key(samples, ("weighted", 0), seed, epoch))
    how = spec.chosen_shuffle
    return _cached(_Key(samples, (how, spec.block if how == "block" else 0), seed, epoch))


@dataclass(frozen=True)
class _Key:
    """What an order depends on. The list is compared by its fingerprint."""

    samples: SampleList
    how: tuple[str, int]
    seed: int
    epoch: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[str, int, tuple[str, int], int, int]:
        return self.samples.fingerprint, len(self.samples), self.how, self.seed, self.epoch


@lru_cache(maxsize=4)
def _cached(key: _Key) -> Indices:
    how, block = key.how
    if how == "weighted":
        return _draw(key.samples, key.seed, key.epoch)
    if how == "full":
        return permutation(len(key.samples), key.seed, key.epoch)
    if how == "block":
        return _blocks(key.samples, block, key.seed, key.epoch)
    stored: Indices = key.samples.places
    return stored if how == "sequential" else np.arange(len(key.samples))


def _blocks(samples: SampleList, block: int, seed: int, epoch: int) -> Indices:
    """Shards in random order; then, window by window, a permutation."""
    rank_of_shard = np.argsort(permutation(len(samples.shards), seed, epoch))
    shard, position = samples.numbers("shard"), samples.numbers("position")
    order = np.lexsort((position, rank_of_shard[shard]))
    keys = words(len(order), seed, Purpose.WINDOW, epoch)
    window = np.arange(len(order)) // block
    found: Indices = order[np.lexsort((keys, window))]
    return found


def _draw(samples: SampleList, seed: int, epoch: int) -> Indices:
    """As many draws as samples, with replacement, each sample in proportion to its weight."""
    weighted = samples.table["weight"].null_count == 0
    total = np.cumsum(samples.numbers("weight")) if weighted else np.zeros(0)
    if weighted and len(total) and total[-1] <= 0:
        raise StoreError("every sample has the weight 0; at least one is above it")
    if not len(total) or not np.isfinite(total[-1]):
        raise StoreError(
            "weighted draws need weights: the query returns a column weight, or the list is made "
            "by class_balanced()"
        )
    draws = uniform(words(len(samples), seed, Purpose.ORDER, epoch)) * total[-1]
    drawn: Indices = np.searchsorted(total, draws, side="right")
    return np.minimum(drawn, len(total) - 1)
