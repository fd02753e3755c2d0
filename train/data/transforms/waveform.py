"""Decode, fit and mix waveforms, and compute the fbank of a mixture."""

import av
import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import open_stored_audio

_WINDOW_S = 0.025


def decode(content: memoryview) -> tuple[NDArray[np.float32], int]:
    """Return a FLAC or WAV file as mono float32 [samples] in [-1, 1], and its rate in Hz.

    Raises:
        ValueError: If it cannot be decoded.
    """
    with open_stored_audio(content) as (container, stream):
        parts = [_mono(frame) for frame in container.decode(stream)]
        rate = int(stream.rate)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32), rate


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    values = frame.to_ndarray()
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / (1 << (8 * values.dtype.itemsize - 1))
    channels = len(frame.layout.channels)
    if values.shape[0] == 1 and channels > 1:  # interleaved
        values = values.reshape(-1, channels).T
    mono: NDArray[np.float32] = values.mean(axis=0, dtype=np.float32)
    return mono


def fit(waveform: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Cut a waveform to `samples`, or pad it with zeros."""
    fitted = np.zeros(samples, np.float32)
    kept = min(samples, len(waveform))
    fitted[:kept] = waveform[:kept]
    return fitted


def remove_mean(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the waveform minus its mean."""
    return waveform - waveform.mean() if len(waveform) else waveform


def mix(
    first: NDArray[np.float32], second: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return share * first + (1 - share) * second, as UAVM's released code mixes waveforms.

    The means are removed before and after. The second is cut or padded with zeros to the length of
    the first.
    """
    fitted = np.zeros_like(first)
    kept = min(len(first), len(second))
    fitted[:kept] = remove_mean(second)[:kept]
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
