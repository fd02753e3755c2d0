"""Where the sound of a panorama comes from: energy of first-order ambisonics by direction."""

import numpy as np
from numpy.typing import NDArray

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
    if len(samples) != 4:
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
    """Return the gains of W, Y, Z, X towards the centre of each field, [fields, 4]."""
    # Azimuth from +180 degrees at the left edge to -180 at the right one; 0 is in front.
    azimuth = (1 - 2 * (np.arange(COLUMNS) + 0.5) / COLUMNS) * np.pi
    elevation = (1 - 2 * (np.arange(ROWS) + 0.5) / ROWS) * np.pi / 2
    e, a = np.meshgrid(elevation, azimuth, indexing="ij")
    gains = np.stack([np.ones_like(a), np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    return gains.reshape(4, -1).T / 2
