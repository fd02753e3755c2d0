"""Decode, fit and mix waveforms, and compute the fbank of a mixture."""

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.stored_audio import decode_stored_audio

_WINDOW_S = 0.025


def decode(content: memoryview, channels: int = 1) -> tuple[NDArray[np.float32], int]:
    """Return a FLAC or WAV file as float32 in [-1, 1], and its rate in Hz.

    Args:
        content: The file.
        channels: Channels that it must have.

    Returns:
        [samples] of one channel, [channels, samples] of more.

    Raises:
        ValueError: If it cannot be decoded, or has another number of channels.
    """
    values, rate = decode_stored_audio(content, channels)
    waveform = values.astype(np.float32, copy=False)
    if np.issubdtype(values.dtype, np.integer):
        waveform /= 1 << (8 * values.dtype.itemsize - 1)
    return waveform[0] if channels == 1 else np.ascontiguousarray(waveform), rate


def resample(waveform: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return a waveform [..., n] at another sampling rate, by soxr's quality HQ."""
    if rate == wanted:
        return waveform
    import soxr  # noqa: PLC0415 -- only where rates differ

    resampled = soxr.resample(waveform.T, rate, wanted, quality="HQ").T
    return np.ascontiguousarray(resampled, np.float32)


def fit(
    waveform: NDArray[np.float32], samples: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Cut a waveform [..., n] to `samples`, or pad it with zeros; in `out`, if it is given."""
    if out is None:
        out = np.empty((*waveform.shape[:-1], samples), np.float32)
    kept = min(samples, waveform.shape[-1])
    out[..., :kept] = waveform[..., :kept]
    out[..., kept:] = 0
    return out


def remove_mean(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the waveform [..., n] minus the mean of each channel."""
    return waveform - waveform.mean(axis=-1, keepdims=True) if waveform.size else waveform


def mix(
    first: NDArray[np.float32], second: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return share * first + (1 - share) * second, as UAVM's released code mixes waveforms.

    The means of each channel are removed before and after. The second is cut or padded with zeros
    to the length of the first.
    """
    fitted = fit(remove_mean(second), first.shape[-1])
    mixed = np.float32(share) * remove_mean(first) + np.float32(1 - share) * fitted
    return remove_mean(mixed)


def fbank(waveform: NDArray[np.float32], rate: int, mels: int) -> NDArray[np.float32]:
    """Compute Kaldi's log-mel filter bank [frames, mels], 25 ms every 10 ms (10 s give 998).

    Raises:
        ValueError: If the waveform is shorter than one window of 25 ms.
    """
    if len(waveform) < _WINDOW_S * rate:
        raise ValueError(f"{len(waveform)} samples at {rate} Hz are shorter than one fbank frame")
    import torch  # noqa: PLC0415 -- torchaudio is slow to import, and this is for mixtures only
    import torchaudio  # noqa: PLC0415

    energies: NDArray[np.float32] = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(waveform)[None],
        htk_compat=True,
        sample_frequency=rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=10,
    ).numpy()
    return energies
