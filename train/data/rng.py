"""Random numbers that are a function of where they are used: no state, nothing to save.

Philox is a counter-based generator: (seed, purpose) is its key and (epoch, place) its counter, so
any draw of any sample can be made anywhere, in any order, by any process.
"""

import threading
from enum import IntEnum
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

_WORD = 1 << 64


class Purpose(IntEnum):
    """What is drawn. Each has its own stream, so that switching one off changes no other."""

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


def philox(seed: int, purpose: Purpose, epoch: int = 0, place: int = 0) -> np.random.Philox:
    """The bit generator of one place. seed: 0 to 2^64 - 1."""
    _check_seed(seed)
    key = np.array([seed, int(purpose)], np.uint64)
    # The first two words count the draws of this place.
    return np.random.Philox(key=key, counter=np.array([0, 0, place, epoch], np.uint64))


def _check_seed(seed: int) -> None:
    if not (isinstance(seed, Integral) and 0 <= seed < _WORD):
        raise ValueError(f"seed {seed!r} is not in 0 … 2^64 - 1")


class _Movable:
    """A generator that is set to a place, which takes a tenth of the time of making one."""

    def __init__(self, purpose: Purpose) -> None:
        self._bits = philox(0, purpose)
        self._fresh = self._bits.state
        self.generator = np.random.Generator(self._bits)

    def at(self, seed: int, epoch: int, place: int) -> np.random.Generator:
        _check_seed(seed)
        inner = self._fresh["state"]
        inner["key"][0] = seed
        inner["counter"][2:] = (place, epoch)
        self._bits.state = self._fresh
        return self.generator


class _Movables(threading.local):
    def __init__(self) -> None:
        self.of = {purpose: _Movable(purpose) for purpose in Purpose}


_MOVABLES = _Movables()


def generator(seed: int, purpose: Purpose, epoch: int, place: int) -> np.random.Generator:
    """The generator of one place of an epoch.

    A thread has one a purpose: the next call for the same purpose sets it to another place, so
    draw what is needed before.
    """
    return _MOVABLES.of[purpose].at(seed, epoch, place)


def words(count: int, seed: int, purpose: Purpose, epoch: int = 0) -> NDArray[np.uint64]:
    """`count` random 64-bit words: word i is a function of (seed, purpose, epoch, i)."""
    return philox(seed, purpose, epoch).random_raw(count).astype(np.uint64, copy=False)


def words_between(
    start: int, stop: int, seed: int, purpose: Purpose, epoch: int = 0
) -> NDArray[np.uint64]:
    """words(stop, …)[start:], without making those before. A counter gives four words."""
    first = start // 4
    bits = philox(seed, purpose, epoch)
    bits.advance(first)
    return bits.random_raw(stop - 4 * first)[start - 4 * first :].astype(np.uint64, copy=False)


def uniform(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Words as numbers in [0, 1), 53 bits each."""
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch: a function of these three numbers alone, in any version of NumPy."""
    return np.argsort(words(length, seed, Purpose.ORDER, epoch), kind="stable")
