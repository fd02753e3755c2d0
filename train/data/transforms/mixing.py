"""Mixup of waveforms (UAVM, spec 2; CAV-MAE fine-tuning)."""

import numpy as np
from numpy.typing import NDArray


def mean_free(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """The waveform less its mean."""
    return waveform - waveform.mean() if len(waveform) else waveform


def mix_waveforms(
    first: NDArray[np.float32], second: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """share * first + (1 - share) * second, both mean-free before and after.

    As long as the first: the second is cut, or zeros follow it.
    """
    fitted = np.zeros_like(first)
    kept = min(len(first), len(second))
    fitted[:kept] = mean_free(second)[:kept]
    mixed = np.float32(share) * mean_free(first) + np.float32(1 - share) * fitted
    return mean_free(mixed)
