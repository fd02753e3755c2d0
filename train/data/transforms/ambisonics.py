"""Rotate first-order ambisonics, with the channels and angles of `avstore.datasets.ambisonics`.

Formulas: AVSA (Morgado et al., NeurIPS 2020), its released code.
"""

import math

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.ambisonics import CHANNELS


def to_front(azimuth: float, elevation: float, published: bool = False) -> NDArray[np.float64]:
    """Return the matrix that turns a direction to the front, for vectors (X, Y, Z).

    Args:
        azimuth: Azimuth of the direction.
        elevation: Its elevation.
        published: Multiply the two rotations in the order of AVSA's released code, which is wrong
            by up to 61 degrees unless one of the angles is 0.

    Returns:
        float64 [3, 3].
    """
    level, ahead = _about_y(elevation), _about_z(-azimuth)
    return ahead @ level if published else level @ ahead


def yaw(angle: float) -> NDArray[np.float64]:
    """Return the matrix that moves every source by an angle to the left, for (X, Y, Z)."""
    return _about_z(angle)


def rotate(waveform: NDArray[np.floating], matrices: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rotate a waveform by one matrix, or by several at once.

    Args:
        waveform: [4, n].
        matrices: [3, 3], or [views, 3, 3].

    Returns:
        float32 [4, n], or [views, 4, n].

    Raises:
        ValueError: If the waveform has not four channels.
    """
    if waveform.ndim != 2 or len(waveform) != CHANNELS:
        raise ValueError(
            f"a waveform {list(waveform.shape)} is no first-order ambisonics [4, samples]: read it "
            "with channels=4"
        )
    # Rows and columns in the order of the channels, Y, Z, X, with W as it is.
    order = [1, 2, 0]
    full = np.zeros((*matrices.shape[:-2], CHANNELS, CHANNELS), np.float32)
    full[..., 0, 0] = 1
    full[..., 1:, 1:] = matrices[..., order, :][..., order]
    rotated: NDArray[np.float32] = full @ np.asarray(waveform, np.float32)
    return rotated


def _about_z(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
