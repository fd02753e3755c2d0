"""Choose the samples of each step: a pure function of (list, settings, seed, epoch, step)."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from avstore.manifests.store import StoreError
from avstore.train.data.rng import Purpose, RandomKey, permutation, uniform, words
from avstore.train.data.samples import SampleList, fingerprint_of
from avstore.train.data.shared_table import SharedTable
from avstore.train.data.spec import BatchSpec

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one global batch, or one rank's part of it; B rows.

    Attributes:
        step: Step of the order.
        epoch: Epoch of the step.
        indices: int64 [B], into the sample list.
        places: int64 [B]; (epoch, place) is the key of a row's random choices. Only a replayed row
            shares it with another: the one that it repeats.
        origin: int16 [B], number of the source: a mixture's source; in a plan 0 is the task and 1
            the replay.
        padded: bool [B], True for rows that only fill up the batch.
        epochs: int64 [B], the epoch of each row's key; `epoch`, but for replayed rows.
        slots: int64 [B], in a plan the slot of its memory that a row of the task takes, or that a
            replayed row was drawn from; -1 for none.

    Example:
        >>> rows = EpochOrder(samples, BatchSpec(batch_size=4), seed=0).rows(step=5)
        >>> isinstance(rows, Rows), len(rows), rows.places.tolist()
        (True, 3, [20, 21, 22])
    """

    step: int
    epoch: int
    indices: Indices
    places: Indices
    origin: NDArray[np.int16]
    padded: NDArray[np.bool_]
    epochs: Indices
    slots: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, selection: Any) -> "Rows":
        """Return the selected rows (a slice, or an array of row numbers)."""
        return Rows(
            self.step,
            self.epoch,
            self.indices[selection],
            self.places[selection],
            self.origin[selection],
            self.padded[selection],
            self.epochs[selection],
            self.slots[selection],
        )

    def filled(self, count: int) -> "Rows":
        """Return at least `count` rows: these, repeated in turn and marked in `padded`.

        A repeated row is the same input again. It takes no slot of a memory.
        """
        own = len(self)
        if own >= count or not own:
            return self
        rows, repeated = self.take(np.arange(count) % own), np.arange(count) >= own
        slots = np.where(repeated, -1, rows.slots)
        return replace(rows, padded=rows.padded | repeated, slots=slots)

    def part(self, rank: int, world_size: int) -> "Rows":
        """Return the rows of one rank: rank, rank + world_size, and so on."""
        return self.take(slice(rank, None, world_size))


class Order(Protocol):
    """The interface of an order: `EpochOrder`, `Mixture`, `ContinualPlan`, or your own class.

    Example:
        >>> order: Order = EpochOrder(samples, BatchSpec(batch_size=4), seed=0)
        >>> len(order), len(order.samples), order.seed
        (6, 23, 0)
    """

    @property
    def samples(self) -> SampleList:
        """The list that `Rows.indices` index."""
        ...

    @property
    def seed(self) -> int:
        """The seed of every random choice."""
        ...

    def __len__(self) -> int:
        """Return the number of steps."""
        ...

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step."""
        ...

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return the samples that may replace a row's sample, or be mixed with it."""
        ...


def row_key(order: Order, rows: Rows, row: int) -> RandomKey:
    """Return the key of a row's random choices."""
    return RandomKey(order.seed, int(rows.epochs[row]), int(rows.places[row]))


def steps_per_epoch(samples: SampleList, spec: BatchSpec) -> int:
    """Return the number of batches of an epoch, the same on every rank.

    Example:
        >>> steps_per_epoch(samples, BatchSpec(batch_size=4))
        6
        >>> steps_per_epoch(samples, BatchSpec(batch_size=4, drop_last=True))
        5
    """
    whole, rest = divmod(len(samples), spec.batch_size)
    return whole if spec.drop_last or not rest else whole + 1


@dataclass(frozen=True)
class EpochOrder:
    """One epoch over a list: each sample once, or as many draws by weight.

    Attributes:
        samples: The list.
        spec: Its batch_size, shuffle, block, weighted, drop_last and pad_last are used.
        seed: Seed in [0, 2^64).
        epoch: Epoch, from 0.

    Raises:
        ValueError: If drop_last leaves no batch.

    Example:
        >>> order = EpochOrder(samples, BatchSpec(batch_size=4), seed=0, epoch=3)
        >>> sum(len(order.rows(step)) for step in range(len(order)))
        23
    """

    samples: SampleList
    spec: BatchSpec
    seed: int
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.spec.drop_last and not len(self):
            raise ValueError(
                f"batch_size={self.spec.batch_size} with drop_last leaves no batch of "
                f"{len(self.samples)} samples: make batch_size smaller, or leave out drop_last"
            )

    def __len__(self) -> int:
        return steps_per_epoch(self.samples, self.spec)

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step.

        Raises:
            IndexError: If the step is not in [0, len(self)).
        """
        order = epoch_order(self.samples, self.spec, self.seed, self.epoch)
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is not in [0, {len(self)}), the steps of the epoch")
        start = step * self.spec.batch_size
        stop = start + self.spec.batch_size
        places = np.arange(start, stop if self.spec.pad_last else min(stop, len(order)))
        return Rows(
            step,
            self.epoch,
            order[places % len(order)],
            places,
            np.zeros(len(places), np.int16),
            places >= len(order),
            np.full(len(places), self.epoch),
            np.full(len(places), -1),
        )

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return all samples of the list."""
        return self.samples.all_indices


def epoch_order(samples: SampleList, spec: BatchSpec, seed: int, epoch: int) -> Indices:
    """Return the indices into the list, in the order of an epoch (`BatchSpec.shuffle`)."""
    if spec.weighted:
        return _cached_order(_OrderKey(samples, ("weighted", 0), seed, epoch))
    shuffle = spec.chosen_shuffle
    block = spec.block if shuffle == "block" else 0
    return _cached_order(_OrderKey(samples, (shuffle, block), seed, epoch))


@dataclass(frozen=True)
class _OrderKey:
    """All that an order depends on. Lists are compared by their fingerprints."""

    samples: SampleList
    shuffle: tuple[str, int]
    seed: int
    epoch: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OrderKey) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[str, int, tuple[str, int], int, int]:
        return self.samples.fingerprint, len(self.samples), self.shuffle, self.seed, self.epoch


@lru_cache(maxsize=4)
def _cached_order(key: _OrderKey) -> Indices:
    shuffle, block = key.shuffle
    if shuffle == "weighted":
        return _weighted_draws(key.samples, key.seed, key.epoch)
    if shuffle == "full":
        return permutation(len(key.samples), key.seed, key.epoch)
    if shuffle == "block":
        return _blocks(key.samples, block, key.seed, key.epoch)
    stored: Indices = key.samples.stored_order
    return stored if shuffle == "sequential" else np.arange(len(key.samples))


def _blocks(samples: SampleList, block: int, seed: int, epoch: int) -> Indices:
    """Order shards randomly, then permute the samples of each window of `block`."""
    rank_of_shard = np.argsort(permutation(len(samples.shards), seed, epoch))
    shard, position = samples.numbers("shard"), samples.numbers("position")
    order = np.lexsort((position, rank_of_shard[shard]))
    keys = words(len(order), seed, Purpose.WINDOW, epoch)
    window = np.arange(len(order)) // block
    permuted: Indices = order[np.lexsort((keys, window))]
    return permuted


def _weighted_draws(samples: SampleList, seed: int, epoch: int) -> Indices:
    """Draw as many samples as there are, with replacement, in proportion to their weights."""
    weighted = samples.table["weight"].null_count == 0
    total = np.cumsum(samples.numbers("weight")) if weighted else np.zeros(0)
    if weighted and len(total) and total[-1] <= 0:
        raise StoreError(
            "every sample has weight 0: weighted draws need at least one positive weight"
        )
    if not len(total) or not np.isfinite(total[-1]):
        raise StoreError(
            "weighted draws need weights: return a column weight from the query, or make the list "
            "by class_balanced()"
        )
    draws = uniform(words(len(samples), seed, Purpose.ORDER, epoch)) * total[-1]
    drawn: Indices = np.searchsorted(total, draws, side="right")
    return np.minimum(drawn, len(total) - 1)


def class_balanced(samples: SampleList) -> SampleList:
    """Return the list with the class-balancing weights of CAV-MAE and UAVM.

    A clip's weight is the sum over its labels of 1000 / (clips of the label + 0.01), counted over
    the list. Use it with BatchSpec(weighted=True).

    Raises:
        StoreError: If no clip has a label.

    Example:
        >>> balanced = class_balanced(samples)
        >>> batch = next(iter(Loader(balanced, BatchSpec(batch_size=4, weighted=True))))
        >>> len(batch)
        4
    """
    weights = balanced_weights(samples, samples.all_indices)
    if not weights.any():
        raise StoreError("no clip of the list has a label: there are no classes to balance")
    return with_weights(samples, weights)


def balanced_weights(samples: SampleList, own: Indices) -> NDArray[np.float64]:
    """Return the class-balancing weights of some samples, counted over these alone.

    Args:
        samples: The list.
        own: int64 [N], indices into it.

    Returns:
        [N]; 0 for a sample without label.
    """
    labels, starts = samples.numbers("label_ids"), samples.list_starts("label_ids")
    sizes = np.diff(starts)
    row = np.repeat(np.arange(len(sizes)), sizes)
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[own] = True
    counts = np.bincount(labels[chosen[row]], minlength=samples.classes)
    each = 1000.0 / (counts[labels] + 0.01)
    total = np.concatenate([[0.0], np.cumsum(each)])
    weights: NDArray[np.float64] = (total[starts[1:]] - total[starts[:-1]])[own]
    return weights


def with_weights(samples: SampleList, weights: ArrayLike) -> SampleList:
    """Return the list with these weights, and so with another fingerprint.

    Args:
        samples: The list.
        weights: One number of at least 0 for each sample, in the list's order: a sequence, an array
            or a tensor.

    Raises:
        StoreError: If the weights are anything else.

    Example:
        >>> weighted = with_weights(samples, [1.0] * 22 + [100.0])
        >>> weighted.fingerprint == samples.fingerprint
        False
    """
    weights = _checked_weights(samples, weights)
    column = samples.table.column_names.index("weight")
    table = samples.table.set_column(column, "weight", pa.array(weights, pa.float64()))
    fingerprint = fingerprint_of(table, samples.shards)
    return replace(samples, columns=SharedTable(table), fingerprint=fingerprint)


def _checked_weights(samples: SampleList, weights: ArrayLike) -> NDArray[np.float64]:
    """Return one finite number of at least 0 for each sample, or raise StoreError."""
    try:
        given = np.asarray(weights)
        if given.dtype.kind in "USO":  # NumPy would read the number in '1.5', and None as NaN
            raise TypeError(f"{given.reshape(-1)[:1].tolist()} are not numbers")
        found = given.astype(np.float64).reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StoreError(f"weights must be numbers, one for each sample: {error}") from error
    if len(found) != len(samples):
        raise StoreError(
            f"weights must be {len(samples)} numbers, one for each sample, and are {len(found)}"
        )
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong):
        first = int(wrong[0])
        raise StoreError(
            f"weights must be finite and at least 0, and weight {first} (of "
            f"{samples.table['clip_id'][first].as_py()}) is {found[first]:g}"
        )
    return found
