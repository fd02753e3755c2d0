"""First-order ambisonics: channels W, Y, Z, X (ACN order, SN3D).

Y is left, Z up, X front. Azimuth grows to the left and elevation upwards, in radians.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHANNELS = 4


def direction(x: float, y: float) -> tuple[float, float]:
    """Return (azimuth, elevation) of a place in an equirectangular picture.

    Args:
        x: Place from its left edge, in [0, 1); 0.5 is in front.
        y: Place from its top, in [0, 1].
    """
    return (1 - 2 * x) * math.pi, (1 - 2 * y) * math.pi / 2


def encode(
    signal: NDArray[np.floating], azimuth: ArrayLike, elevation: ArrayLike
) -> NDArray[np.float32]:
    """Return a point source as float32 [4, n].

    Args:
        signal: [n].
        azimuth: A number, or [n] for a source that moves.
        elevation: Likewise.
    """
    a, e = np.asarray(azimuth, np.float64), np.asarray(elevation, np.float64)
    gains = (np.ones_like(a), np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e))
    return np.stack([np.asarray(signal * gain, np.float32) for gain in gains])
