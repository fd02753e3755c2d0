"""Derive every random number from where it is used, so that there is no state to save.

Philox is a counter-based generator: (seed, purpose) is its key and (epoch, place) its counter, so
any process can repeat any draw of any sample, in any order.
"""

import threading
from dataclasses import dataclass
from enum import IntEnum
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

_WORD = 1 << 64
# Places of mixup partners, and of further clips of one row: beyond those of any epoch.
_PARTNER_PLACES = 1 << 62
_CLIP_PLACES = 1 << 48


class Purpose(IntEnum):
    """Purpose of a random number: each has a stream that does not depend on the others."""

    ORDER = 0
    FRAMES = 1
    CROP = 2
    MASK = 3
    NOISE = 4
    MIXUP = 5
    CHECK = 6
    REPLACE = 7
    SOURCE = 8
    RESERVOIR = 9
    REPLAY = 10
    WINDOW = 11
    MODALITY = 12
    SOUND = 13
    TRANSFORM = 14
    BATCH_TRANSFORM = 15
    GROUP = 16


def philox(seed: int, purpose: Purpose, epoch: int = 0, place: int = 0) -> np.random.Philox:
    """Return the bit generator of one place.

    Raises:
        ValueError: If the seed is not in [0, 2^64).
    """
    _check_seed(seed)
    key = np.array([seed, int(purpose)], np.uint64)
    # The first two words count the draws of this place.
    return np.random.Philox(key=key, counter=np.array([0, 0, place, epoch], np.uint64))


def _check_seed(seed: int) -> None:
    if not (isinstance(seed, Integral) and 0 <= seed < _WORD):
        raise ValueError(f"seed={seed!r} is not an integer in [0, 2^64)")


class _SeekableGenerator:
    """A generator that can be set to any place, in a tenth of the time of creating one."""

    def __init__(self, purpose: Purpose) -> None:
        self._bits = philox(0, purpose)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def seek(self, seed: int, epoch: int, place: int) -> np.random.Generator:
        _check_seed(seed)
        inner = self._state["state"]
        inner["key"][0] = seed
        inner["counter"][2:] = (place, epoch)
        self._bits.state = self._state
        return self._generator


class _ThreadGenerators(threading.local):
    def __init__(self) -> None:
        self.by_purpose = {purpose: _SeekableGenerator(purpose) for purpose in Purpose}


_GENERATORS = _ThreadGenerators()


def generator(seed: int, purpose: Purpose, epoch: int, place: int) -> np.random.Generator:
    """Return the generator of one place of an epoch.

    Each thread has one generator for each purpose. The next call for the same purpose moves it, so
    draw everything you need first.
    """
    return _GENERATORS.by_purpose[purpose].seek(seed, epoch, place)


@dataclass(frozen=True, slots=True)
class RandomKey:
    """The key of one row's random choices: the same key gives the same choices.

    Attributes:
        seed: Seed of the order.
        epoch: Epoch of the row.
        place: Place of the row in the epoch.
    """

    seed: int
    epoch: int
    place: int

    def generator(self, purpose: Purpose) -> np.random.Generator:
        """Return the row's generator for a purpose (see `generator`)."""
        return generator(self.seed, purpose, self.epoch, self.place)

    def of_clip(self, number: int) -> "RandomKey":
        """Return the key of a clip of the row; the first has the row's own."""
        if not number:
            return self
        return RandomKey(self.seed, self.epoch, self.place + number * _CLIP_PLACES)

    def partner(self) -> "RandomKey":
        """Return the key of the sample that the row is mixed with."""
        return RandomKey(self.seed, self.epoch, self.place + _PARTNER_PLACES)


def words(count: int, seed: int, purpose: Purpose, epoch: int = 0) -> NDArray[np.uint64]:
    """Return `count` random 64-bit words; word i is a function of (seed, purpose, epoch, i)."""
    return philox(seed, purpose, epoch).random_raw(count).astype(np.uint64, copy=False)


def uniform(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Convert words to numbers in [0, 1), with 53 random bits each."""
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return an epoch's permutation of range(length), the same in every version of NumPy."""
    return np.argsort(words(length, seed, Purpose.ORDER, epoch), kind="stable")
