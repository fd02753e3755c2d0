"""Waveforms: decode, fit, and the fbank of one that was mixed."""

import io

import av
import numpy as np
from numpy.typing import NDArray

_FRAME_S = 0.025


def decode(content: memoryview) -> tuple[NDArray[np.float32], int]:
    """A FLAC or WAV file as mono float32 [samples] in [-1, 1], and its rate in Hz.

    Raises ValueError where it cannot be decoded.
    """
    try:
        with av.open(io.BytesIO(content)) as container:
            stream = container.streams.audio[0]
            parts = [_mono(frame) for frame in container.decode(stream)]
            rate = int(stream.rate)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(str(error)) from error
    return np.concatenate(parts) if parts else np.zeros(0, np.float32), rate


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    values = frame.to_ndarray()
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / (1 << (8 * values.dtype.itemsize - 1))
    channels = len(frame.layout.channels)
    if values.shape[0] == 1 and channels > 1:  # interleaved
        values = values.reshape(-1, channels).T
    mixed: NDArray[np.float32] = values.mean(axis=0, dtype=np.float32)
    return mixed


def fit(waveform: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """The first `samples` of a waveform; zeros at the end where it is shorter."""
    fitted = np.zeros(samples, np.float32)
    kept = min(samples, len(waveform))
    fitted[:kept] = waveform[:kept]
    return fitted


def fbank(waveform: NDArray[np.float32], rate: int, mels: int) -> NDArray[np.float32]:
    """Kaldi's log-mel filter bank [frames, mels], 25 ms every 10 ms (spec 2.1; 10 s give 998).

    Raises ValueError for a waveform shorter than one frame.
    """
    if len(waveform) < _FRAME_S * rate:
        raise ValueError(f"{len(waveform)} samples at {rate} Hz are less than one fbank frame")
    import torch  # noqa: PLC0415 -- torchaudio is slow to load, and this is for mixtures only
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
