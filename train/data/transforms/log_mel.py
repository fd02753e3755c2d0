"""Compute AVSA's log-mel spectra of a batch of waveforms, on any device.

Formulas: AVSA (Morgado et al., NeurIPS 2020), its released code with librosa 0.7.2. Its statistics
of YT-360 are in `yt360_log_mel.csv`.
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

RATE = 24_000
BANDS = 128
_WINDOW = 512
_HOP = RATE // 100
_LEAST = 1e-10
_RANGE_DB = 100.0
# AVSA divides by the standard deviation and this.
_EPSILON = 1e-5


def spectra(waveform: Tensor, rate: int | None) -> Tensor:
    """Return log-mel spectra, normalised by the statistics of YT-360.

    Args:
        waveform: Float [..., n] in [-1, 1], such as `Batch.waveform` [B, views, 4, n].
        rate: Its samples a second: 24,000 (`Batch.sample_rate`).

    Returns:
        float32 [..., frames, 128], frames of 10 ms: one second gives 100.

    Raises:
        ValueError: If the rate is another, or the waveform is shorter than 257 samples.

    Example:
        >>> second = torch.zeros(2, 4, 4, 24_000)  # [B, views, channels, samples]
        >>> tuple(spectra(second, 24_000).shape)
        (2, 4, 4, 100, 128)
    """
    decibels = log_mel(waveform, rate)
    mean, std = _statistics(decibels.device)
    return decibels.sub_(mean).div_(std)


def log_mel(waveform: Tensor, rate: int | None) -> Tensor:
    """Return log-mel spectra in dB, at most 100 below the loudest value of each channel.

    Magnitudes are converted as if they were powers, as in the released code: 10 log10 of the sum of
    magnitudes in a Slaney band (0 to 12 kHz, of equal area), windows of 512 samples (Hann) each
    10 ms, centred, reflected at the ends.

    Args:
        waveform: As for `spectra`.
        rate: As for `spectra`.

    Returns:
        float32 [..., frames, 128].

    Raises:
        ValueError: As for `spectra`.
    """
    samples = waveform.shape[-1]
    if rate != RATE:
        raise ValueError(
            f"a waveform of {rate} Hz: AVSA's spectra are those of {RATE} Hz; set "
            f"BatchSpec(sample_rate={RATE})"
        )
    if samples <= _WINDOW // 2:
        raise ValueError(
            f"{samples} samples are shorter than half a window of {_WINDOW}: read longer sound"
        )
    # In float32 also inside of autocast: half precision has no 100 dB.
    with torch.autocast(waveform.device.type, enabled=False):
        spectrum = torch.stft(
            waveform.reshape(-1, samples).float(),
            _WINDOW,
            _HOP,
            window=_window(waveform.device),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        # The frame that begins after the last whole 10 ms goes before the floor is found.
        magnitudes = spectrum[..., : samples // _HOP].abs()
        bands = magnitudes.mT @ _filters(waveform.device)
    decibels = bands.clamp_(min=_LEAST).log10_().mul_(10)
    decibels = torch.maximum(decibels, decibels.amax((-2, -1), keepdim=True) - _RANGE_DB)
    return decibels.view(*waveform.shape[:-1], -1, BANDS)


@lru_cache(maxsize=16)
def _window(device: torch.device) -> Tensor:
    # Its first values, near 0, are exact to float32 only if they are computed in float64.
    return torch.hann_window(_WINDOW, dtype=torch.float64).float().to(device)


@lru_cache(maxsize=16)
def _filters(device: torch.device) -> Tensor:
    """Return the weights of the bins in the bands, float32 [257, 128]."""
    from torchaudio.functional import melscale_fbanks  # noqa: PLC0415 -- slow to import

    weights: Tensor = melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, RATE / 2, BANDS, RATE, norm="slaney", mel_scale="slaney"
    )
    return weights.to(device)


@lru_cache(maxsize=16)
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each band, float32 [128]."""
    text = files(__package__).joinpath("yt360_log_mel.csv").read_text()
    mean, std = np.loadtxt(text.splitlines(), np.float32, delimiter=",", unpack=True)
    return torch.from_numpy(mean).to(device), torch.from_numpy(std + _EPSILON).to(device)
