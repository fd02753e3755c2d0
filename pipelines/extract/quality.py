"""Quality signals of a clip's own seconds: how silent, loud, still and black it is."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.1
BLACK_SHARE = 0.98


def silent_fraction(samples: NDArray[np.int16], rate: int, dbfs: float) -> float:
    """Share of 100 ms blocks whose RMS is below a level (dB of full scale)."""
    block = int(rate * BLOCK_S)
    count = max(len(samples) // block, 1)
    blocks = samples[: count * block].reshape(count, -1).astype(np.float64) / 32768
    power = np.square(blocks).mean(axis=1)
    return float(np.count_nonzero(power < 10 ** (dbfs / 10)) / count)


def still_fraction(lumas: Sequence[NDArray[np.uint8]], difference: float) -> float | None:
    """Share of neighbouring pictures whose mean absolute luma difference is below a level.

    None for a single picture: it has no neighbour.
    """
    if len(lumas) < 2:
        return None
    pairs = pairwise(lumas)
    still = sum(float(np.abs(a.astype(np.int16) - b).mean()) < difference for a, b in pairs)
    return still / (len(lumas) - 1)


def black_fraction(lumas: Sequence[NDArray[np.uint8]], level: int) -> float | None:
    """Share of pictures that have 98 % of their pixels below a luma level (0 to 255)."""
    if not lumas:
        return None
    black = sum(np.count_nonzero(y < level) >= BLACK_SHARE * y.size for y in lumas)
    return float(black / len(lumas))
