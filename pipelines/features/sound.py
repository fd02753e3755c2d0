"""Compute the log-mel spectrograms that pretrained audio models take."""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Tensor = Any

VGGISH_RATE, VGGISH_MELS, VGGISH_FRAMES = 16000, 64, 96
CLAP_RATE, CLAP_SAMPLES = 48000, 480000


def vggish_examples(samples: NDArray[np.float32], hop_frames: int = 96) -> NDArray[np.float32]:
    """Compute VGGish's input: examples of 96 log-mel frames.

    Frames of 25 ms every 10 ms without padding, periodic Hann window, magnitude of a 512-point
    FFT, 64 triangular HTK mel bands from 125 to 7,500 Hz, log(x + 0.01). Hershey et al., CNN
    architectures for large-scale audio classification, 2017, and its published front end.

    Args:
        samples: 16 kHz waveform in [-1, 1], (samples,); padded with zeros up to 0.975 s.
        hop_frames: Frames from one example to the next.

    Returns:
        float32 (n, 96, 64) with n at least 1.
    """
    least = 400 + (VGGISH_FRAMES - 1) * 160
    padded = np.pad(samples.astype(np.float64), (0, max(0, least - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectrum = np.abs(np.fft.rfft(frames * window, 512))
    log_mel = np.log(spectrum @ _vggish_bands() + 0.01)
    count = 1 + (len(log_mel) - VGGISH_FRAMES) // hop_frames
    starts = np.arange(count) * hop_frames
    return np.stack([log_mel[at : at + VGGISH_FRAMES] for at in starts]).astype(np.float32)


@cache
def _vggish_bands() -> NDArray[np.float64]:
    """Return weights (257, 64): triangles on the mel scale; those of the DC bin are 0."""
    edges = np.linspace(_mel(125.0), _mel(7500.0), VGGISH_MELS + 2)
    bins = _mel(np.linspace(0.0, VGGISH_RATE / 2, 257))[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.asarray(weights)


def _mel(hertz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def quantise(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Truncate to 16 bits (full scale 32,767) and convert back, as laion-clap does first."""
    scaled = (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
    return scaled.astype(np.float32) / np.float32(32767.0)


def repeat_pad(waves: _Tensor, length: int = CLAP_SAMPLES) -> _Tensor:
    """Fill (B, n) to (B, length) by whole repeats, then zeros; cut longer waveforms."""
    import torch.nn.functional as F  # noqa: PLC0415 -- heavy

    count = waves.shape[-1]
    if count >= length:
        return waves[..., :length]
    tiled = waves.repeat(1, length // count)
    return F.pad(tiled, (0, length - tiled.shape[-1]))


def clap_mel(waves: _Tensor) -> _Tensor:
    """Compute CLAP's input in dB, (B, 4, n // 480 + 1, 64), of 48 kHz waveforms (B, n).

    Window 1,024 (periodic Hann), hop 480, centred with reflection, power spectrum, 64 HTK mel
    bands from 50 to 14,000 Hz without area normalisation, 10 log10 with a floor of 1e-10. The
    four channels of the fusion input are equal, as for any clip of at most ten seconds.
    """
    import torch  # noqa: PLC0415 -- heavy
    from torchaudio.functional import melscale_fbanks  # noqa: PLC0415 -- heavy

    doubled = waves.double()
    window = torch.hann_window(1024, periodic=True, dtype=doubled.dtype, device=waves.device)
    spectrum = torch.stft(
        doubled, 1024, 480, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    bands = melscale_fbanks(513, 50.0, 14000.0, 64, CLAP_RATE, norm=None, mel_scale="htk")
    power = spectrum.abs().square().transpose(1, 2) @ bands.to(doubled)
    decibel = 10.0 / math.log(10.0) * torch.log(power.clamp_min(1e-10))
    return decibel.float()[:, None].expand(-1, 4, -1, -1)
