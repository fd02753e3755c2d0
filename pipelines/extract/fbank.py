"""Compute Kaldi-compatible log-mel filter banks (fbank) in NumPy.

The values are those of `torchaudio.compliance.kaldi.fbank(htk_compat=True, use_energy=False,
window_type="hanning", dither=0)`: DC removed per frame, pre-emphasis 0.97, power spectrum,
mel scale 1127 ln(1 + f / 700), natural logarithm, edges snipped.
All arithmetic is in float64: values are within 1e-3 of torchaudio's in float64, and of its float32
except for a few bands in 100,000 that are 100 dB below the loudest, beyond single precision. The
order of additions is fixed, so neither thread count nor BLAS changes a bit.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.extract.recipe_sections import FbankSettings

PREEMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)

Filter = tuple[int, NDArray[np.float64]]


def log_mel(samples: NDArray[np.int16], rate: int, fbank: FbankSettings) -> NDArray[np.float32]:
    """Compute the fbank of a waveform, without padding or normalisation.

    Ten seconds at 16 kHz give (998, 128) with 128 mels, 25 ms windows and 10 ms steps.

    Args:
        samples: 16-bit mono waveform, (samples,).
        rate: Samples per second.
        fbank: The recipe's fbank settings.

    Returns:
        Natural logarithms of mel energies, float32 (frames, mels).
    """
    wave = samples.astype(np.float64) / 32768
    if fbank.subtract_mean and len(wave):
        wave -= wave.mean()
    if fbank.engine == "torchaudio":
        return _torchaudio(wave, rate, fbank)
    length = int(rate * fbank.frame_length_ms * 0.001)
    shift = int(rate * fbank.frame_shift_ms * 0.001)
    if len(wave) < length:
        return np.zeros((0, fbank.mels), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::shift]
    frames = frames - frames.mean(axis=1, keepdims=True)
    padded = 1 << (length - 1).bit_length()
    windowed = np.zeros((len(frames), padded))
    emphasised = windowed[:, :length]
    np.multiply(frames[:, :-1], -PREEMPHASIS, out=emphasised[:, 1:])
    np.multiply(frames[:, 0], -PREEMPHASIS, out=emphasised[:, 0])
    emphasised += frames
    emphasised *= np.hanning(length)
    spectrum = np.fft.rfft(windowed)
    power = (spectrum.real**2 + spectrum.imag**2).T
    high = fbank.high_hz or rate / 2
    filters = _filters(fbank.low_hz, high, rate, padded, fbank.mels)
    return _mel_energies(np.ascontiguousarray(power), filters, fbank.log_offset)


def _mel_energies(
    power: NDArray[np.float64], filters: tuple[Filter, ...], log_offset: float
) -> NDArray[np.float32]:
    """Return the log of triangular sums, (frames, mels), over a power spectrum (bins, frames)."""
    energies = np.zeros((len(filters), power.shape[1]))
    scratch = np.empty(power.shape[1])
    for m, (low, weights) in enumerate(filters):
        for k, weight in enumerate(weights, low):
            np.multiply(power[k], weight, out=scratch)
            energies[m] += scratch
    if log_offset:
        energies += log_offset
    else:
        np.maximum(energies, FLOOR, out=energies)
    return np.ascontiguousarray(np.log(energies, out=energies).T, np.float32)


@lru_cache(maxsize=8)
def _filters(
    low_hz: float, high_hz: float, rate: int, padded: int, mels: int
) -> tuple[Filter, ...]:
    """Return each triangular filter as its first FFT bin and its weights."""
    low, high = _mel(np.array([low_hz, high_hz], np.float64))
    step = (high - low) / (mels + 1)
    centres = _mel(rate / padded * np.arange(padded // 2, dtype=np.float64))
    filters = []
    for m in range(mels):
        left = low + m * step
        up, down = (centres - left) / step, (left + 2 * step - centres) / step
        weights = np.maximum(0.0, np.minimum(up, down))
        bins = np.flatnonzero(weights)
        first = int(bins[0]) if len(bins) else 0
        filters.append((first, weights[bins]))
    return tuple(filters)


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log(1.0 + hertz / 700.0)


def _torchaudio(wave: NDArray[np.float64], rate: int, fbank: FbankSettings) -> NDArray[np.float32]:
    """Compute the fbank by torchaudio itself."""
    import torch  # noqa: PLC0415 - heavy, and only where the recipe asks for it
    import torchaudio  # noqa: PLC0415

    energies = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(wave.astype(np.float32))[None],
        htk_compat=True,
        sample_frequency=rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=fbank.mels,
        dither=0.0,
        frame_length=fbank.frame_length_ms,
        frame_shift=fbank.frame_shift_ms,
        low_freq=fbank.low_hz,
        high_freq=fbank.high_hz or 0.0,
        use_log_fbank=not fbank.log_offset,
    ).numpy()
    logs: NDArray[np.float32] = (
        np.log(energies + np.float32(fbank.log_offset)) if fbank.log_offset else energies
    )
    return logs
