"""Integrated loudness after ITU-R BS.1770-4: K-weighting, 400 ms blocks, two gates.

The two K filters are defined at 48 kHz; here their analogue prototypes are taken to the clip's
own rate (bilinear transform), and applied as a frequency response. Mono counts as one channel
of weight 1, so a sound in both channels of a stereo file reads 3 dB lower than from the stereo.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
BLOCK_S, STEP_S = 0.4, 0.1

# Prototypes of the two stages: the head's high shelf, and the RLB high pass (BS.1770-4, Annex 1).
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
PASS_HZ, PASS_Q = 38.13547087602444, 0.5003270373238773


def integrated_loudness(samples: NDArray[np.int16], rate: int) -> float | None:
    """LUFS of a mono waveform; None where no block passes the absolute gate (silence)."""
    step = int(rate * STEP_S)
    steps = len(samples) // step
    per_block = round(BLOCK_S / STEP_S)
    if steps < per_block:
        return None
    wave = samples.astype(np.float32) / np.float32(32768)
    size = _fft_size(len(wave) + rate // 2)  # half a second lets the high pass ring out
    weighted = np.fft.irfft(np.fft.rfft(wave, size) * _k_response(rate, size), size)
    energies = (
        np.square(weighted[: steps * step]).reshape(steps, step).mean(axis=1, dtype=np.float64)
    )
    blocks = sum(energies[i : steps - per_block + 1 + i] for i in range(per_block)) / per_block
    loud = blocks[_lufs(blocks) > ABSOLUTE_GATE]
    if len(loud) == 0:
        return None
    gate = _lufs(loud.mean()) + RELATIVE_GATE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def _lufs(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.691 + 10 * np.log10(np.maximum(energy, 1e-20))


@lru_cache(maxsize=4)
def _k_response(rate: int, size: int) -> NDArray[np.complex64]:
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    return (_biquad(_shelf(rate), z) * _biquad(_high_pass(rate), z)).astype(np.complex64)


def _fft_size(least: int) -> int:
    """The next length with only small factors (a power of two times 1, 3, 5 or 15)."""
    sizes = (f << (max(-(-least // f) - 1, 0)).bit_length() for f in (1, 3, 5, 15))
    return min(sizes)


def _biquad(
    coefficients: tuple[tuple[float, ...], tuple[float, ...]], z: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    (b0, b1, b2), (a0, a1, a2) = coefficients
    response: NDArray[np.complex128] = (b0 + z * (b1 + z * b2)) / (a0 + z * (a1 + z * a2))
    return response


def _shelf(rate: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    k = np.tan(np.pi * SHELF_HZ / rate)
    high = 10 ** (SHELF_DB / 20)
    band = high**0.4996667741545416
    top = (high + band * k / SHELF_Q + k * k, 2 * (k * k - high), high - band * k / SHELF_Q + k * k)
    return top, (1 + k / SHELF_Q + k * k, 2 * (k * k - 1), 1 - k / SHELF_Q + k * k)


def _high_pass(rate: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    k = np.tan(np.pi * PASS_HZ / rate)
    a0 = 1 + k / PASS_Q + k * k
    return (a0, -2 * a0, a0), (a0, 2 * (k * k - 1), 1 - k / PASS_Q + k * k)
