"""Random permutations whose elements can be computed one by one, without the rest.

A long epoch is a Feistel network over the smallest power of two that holds it, walked until a
place falls within the epoch (Black and Rogaway, CT-RSA 2002); a short one is sorted, as any Feistel
network over few places reaches only some permutations.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.rng import permutation

_SORTED_LENGTH = 4096
_ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)


def shuffled(
    places: NDArray[np.int64], length: int, seed: int, epochs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the elements at some places of the permutations of range(length) of some epochs.

    Args:
        places: int64 [N], each in [0, length).
        length: Length of the permutations.
        seed: Seed in [0, 2^64).
        epochs: int64 [N], the epoch of each place; one epoch has one permutation.

    Returns:
        int64 [N], each in [0, length).
    """
    if length <= _SORTED_LENGTH:
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            own = epochs == epoch
            found[own] = _sorted(length, seed, int(epoch))[places[own]]
        return found
    keys = _mixed(np.uint64(seed) ^ _mixed(epochs.astype(np.uint64) + _GOLDEN))
    values = places.astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        values[outside] = _network(values[outside], keys[outside], length)
        outside = outside[values[outside] >= length]
    return values.astype(np.int64)


def uniform_at(
    places: NDArray[np.int64], seed: int, epochs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each place of an epoch, [N]."""
    keys = _mixed(np.uint64(seed) ^ _mixed(epochs.astype(np.uint64) + _GOLDEN))
    words = _mixed(keys ^ places.astype(np.uint64)) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


@lru_cache(maxsize=512)
def _sorted(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return permutation(length, seed, epoch)


def _network(
    values: NDArray[np.uint64], keys: NDArray[np.uint64], length: int
) -> NDArray[np.uint64]:
    """Permute the numbers of `bits` bits, the fewest that hold the length."""
    bits = (length - 1).bit_length()
    low = bits // 2
    for number in range(_ROUNDS):
        # Left and right part change places, and their widths with them.
        right = np.uint64(low if number % 2 == 0 else bits - low)
        left = np.uint64(bits) - right
        head, tail = values >> right, values & ((np.uint64(1) << right) - np.uint64(1))
        head ^= _mixed(tail ^ _mixed(keys + np.uint64(number))) & (
            (np.uint64(1) << left) - np.uint64(1)
        )
        values = (tail << left) | head
    return values


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix each word's bits (the finaliser of SplitMix64: Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = np.atleast_1d(words) + _GOLDEN
        for shift, factor in _MIX:
            mixed = (mixed ^ (mixed >> shift)) * factor
        return mixed ^ (mixed >> np.uint64(31))
