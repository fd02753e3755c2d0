"""Where the sound of a panorama comes from: energy of first-order ambisonics by direction."""

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.ambisonics import CHANNELS, direction, encode

ROWS, COLUMNS = 18, 36
STEP_S = 0.25


def energy_map(samples: NDArray[np.floating], rate: int) -> NDArray[np.uint8]:
    """Return the energy of the sound over the equirectangular picture.

    A cardioid is turned to the centre of each field; its energy over a quarter of a second is
    scaled between the quietest and the loudest direction of that time.

    Args:
        samples: [4, samples]: W, Y, Z, X.
        rate: Samples per second.

    Returns:
        uint8 [steps, 18, 36], rows from the top, columns from the left edge.

    Raises:
        ValueError: It has another number of channels.
    """
    if len(samples) != CHANNELS:
        raise ValueError(f"the sound has {len(samples)} channels, not 4 (W, Y, Z, X)")
    width = max(int(rate * STEP_S), 1)
    steps = max(samples.shape[1] // width, 1)
    padded = np.zeros((4, steps * width), np.float64)
    kept = samples[:, : steps * width]
    padded[:, : kept.shape[1]] = kept
    parts = padded.reshape(4, steps, width)
    covariance = np.einsum("asn,bsn->sab", parts, parts)
    gains = _gains()
    energy = np.einsum("ga,sab,gb->sg", gains, covariance, gains)
    low, high = energy.min(1, keepdims=True), energy.max(1, keepdims=True)
    loud = np.where(high > 1e-9, (energy - low) / np.maximum(high - low, 1e-12), 0.0)
    scaled = (255 * np.clip(loud, 0, 1)).astype(np.uint8)
    return scaled.reshape(steps, ROWS, COLUMNS)


def _gains() -> NDArray[np.float64]:
    """Return the gains of W, Y, Z, X of a cardioid towards each field, [fields, 4]."""
    y, x = np.meshgrid((np.arange(ROWS) + 0.5) / ROWS, (np.arange(COLUMNS) + 0.5) / COLUMNS,
                       indexing="ij")  # fmt: skip
    places = zip(x.ravel(), y.ravel(), strict=True)
    azimuth, elevation = np.array([direction(*place) for place in places]).T
    return encode(np.ones(ROWS * COLUMNS), azimuth, elevation).T.astype(np.float64) / 2
