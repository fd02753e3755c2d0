"""The order of a task's clips in an epoch, computed place by place.

A plan asks for places of any past epoch, so no order of a whole epoch is ever made.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from avstore.manifests.store import StoreError
from avstore.train.data.groups import Grouping
from avstore.train.data.order import Indices, balanced_weights
from avstore.train.data.samples import SampleList
from avstore.train.data.shuffle import shuffled, uniform_at

Arrangement = Literal["full", "block", "sequential", "balanced", "groups"]
# Indices into the list at some places of some epochs: f(places, epochs), int64 [N] each.
Chosen = Callable[[Indices, Indices], Indices]


def arrange(
    samples: SampleList,
    own: Indices,
    kind: Arrangement,
    block: int,
    seed: int,
    grouping: Grouping | None = None,
) -> Chosen:
    """Return what finds a task's clips by place and epoch.

    Args:
        samples: The list.
        own: The task's indices into it.
        kind: A "full" permutation; shards in random order, permuted within windows of `block` clips
            ("block"); as stored ("sequential"); draws by class-balancing weights ("balanced"); or
            random clips of all "groups" in turn.
        block: Clips of a window.
        seed: Seed in [0, 2^64).
        grouping: The groups, for "groups".

    Raises:
        StoreError: Draws are to be balanced, and no clip has a label.
    """
    if grouping is not None:
        return _Grouped(grouping, seed)
    if kind == "full":
        return lambda places, epochs: own[shuffled(places, len(own), seed, epochs)]
    if kind == "balanced":
        return _balanced(samples, own, seed)
    stored = _stored(samples, own)
    if kind == "sequential":
        return lambda places, _epochs: stored[places]
    return _Blocks(samples, stored, block, seed)


class _Grouped:
    """Permutations of the groups, one behind the other, and a random clip of each."""

    def __init__(self, of: Grouping, seed: int) -> None:
        self._of, self._seed = of, seed

    def __call__(self, places: Indices, epochs: Indices) -> Indices:
        groups, repeats = self._of.groups, self._of.repeats
        laps = epochs * repeats + places // len(groups)
        chosen = shuffled(places % len(groups), len(groups), self._seed, laps)
        return groups.draw(chosen, uniform_at(places, self._seed, epochs))


def _stored(samples: SampleList, own: Indices) -> Indices:
    """Return the task's clips in the order of their shards, and in them as stored."""
    shard, position = samples.numbers("shard")[own], samples.numbers("position")[own]
    stored: Indices = own[np.lexsort((position, shard))]
    return stored


def _balanced(samples: SampleList, own: Indices, seed: int) -> Chosen:
    total = np.cumsum(balanced_weights(samples, own))
    if total[-1] <= 0:
        raise StoreError("no clip of a task has a label: there are no classes to balance")

    def drawn(places: Indices, epochs: Indices) -> Indices:
        found = np.searchsorted(total, uniform_at(places, seed, epochs) * total[-1], side="right")
        chosen: Indices = own[np.minimum(found, len(own) - 1)]
        return chosen

    return drawn


class _Blocks:
    """Shards in an order of the epoch, permuted within windows."""

    def __init__(self, samples: SampleList, stored: Indices, block: int, seed: int) -> None:
        shard = samples.numbers("shard")[stored]
        self._first = np.flatnonzero(np.diff(shard, prepend=-1))
        self._sizes = np.diff(self._first, append=len(stored))
        self._stored, self._block, self._seed = stored, block, seed

    def __call__(self, places: Indices, epochs: Indices) -> Indices:
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            own = epochs == epoch
            found[own] = self._of_epoch(places[own], int(epoch))
        return found

    def _of_epoch(self, places: Indices, epoch: int) -> Indices:
        shards = len(self._sizes)
        order = shuffled(np.arange(shards), shards, self._seed, np.full(shards, epoch))
        ends = np.cumsum(self._sizes[order])
        permuted = self._within_windows(places, epoch)
        at = np.searchsorted(ends, permuted, side="right")
        within = permuted - (ends[at] - self._sizes[order][at])
        chosen: Indices = self._stored[self._first[order][at] + within]
        return chosen

    def _within_windows(self, places: Indices, epoch: int) -> Indices:
        length, permuted = len(self._stored), np.empty(len(places), np.int64)
        windows = places // self._block
        for window in np.unique(windows):
            own, start = windows == window, int(window) * self._block
            size = min(self._block, length - start)
            keys = np.full(int(own.sum()), epoch << 32 | int(window))
            permuted[own] = start + shuffled(places[own] - start, size, self._seed, keys)
        return permuted
