"""Measure quality signals of a clip's own seconds: silence, loudness, stillness, blackness.

Loudness follows ITU-R BS.1770-4: K-weighting, 400 ms blocks, two gates. The standard defines the
two K filters at 48 kHz; here the bilinear transform takes their analogue prototypes to the clip's
own rate, and they are applied as a frequency response. Mono counts as one channel of weight 1, so
a signal in both channels of a stereo file reads 3 dB lower than from the stereo.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.extract.audio import Waveform
from avstore.pipelines.extract.coverage import Coverage
from avstore.pipelines.extract.pictures import DecodedPictures
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.recipe_sections import QualityLimits
from avstore.pipelines.extract.records import Quality

SILENCE_BLOCK_S = 0.1
QUIETEST_DBFS = -120.0
BLACK_SHARE = 0.98
CHANGE_GRID = 16
"""Parts of the picture's height and width: a mouth that talks changes one of them visibly."""

ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
LOUDNESS_BLOCK_S, LOUDNESS_STEP_S = 0.4, 0.1

# Prototypes of the two stages: the head's high shelf, and the RLB high pass (BS.1770-4, Annex 1).
SHELF_HZ, SHELF_DB, SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
PASS_HZ, PASS_Q = 38.13547087602444, 0.5003270373238773

_Biquad = tuple[tuple[float, ...], tuple[float, ...]]


def measure_quality(
    waveform: Waveform | None,
    pictures: DecodedPictures | None,
    coverage: Mapping[str, Coverage],
    decode_errors: int,
    recipe: Recipe,
) -> Quality:
    """Measure all signals of a decoded clip; those of a stream that is not stored are None."""
    limits = recipe.quality
    signals: dict[str, Any] = {
        f"{name}_covered_fraction": part.fraction for name, part in coverage.items()
    }
    if waveform is not None:
        signals |= _of_sound(waveform, recipe.audio.rate, limits)
    if pictures is not None:
        signals |= _of_pictures(pictures, limits)
    return Quality(
        decode_errors=decode_errors,
        largest_gap_s=max(part.gap_s for part in coverage.values()),
        **signals,
    )


def _of_sound(waveform: Waveform, rate: int, limits: QualityLimits) -> dict[str, Any]:
    samples = waveform.mono
    return {
        "silent_fraction": silent_fraction(samples, rate, limits.silent_dbfs),
        "loudest_dbfs": loudest_dbfs(samples, rate),
        "loudness_lufs": integrated_loudness(samples, rate),
        "clipped_fraction": waveform.clipped_fraction,
    }


def _of_pictures(pictures: DecodedPictures, limits: QualityLimits) -> dict[str, Any]:
    lumas = pictures.lumas
    return {
        "still_fraction": still_fraction(lumas, limits.still_luma),
        "largest_change": largest_change(lumas),
        "black_fraction": black_fraction(lumas, limits.black_luma),
        "brightest_luma": max((int(y.max()) for y in lumas), default=None),
        "repeated_frames": pictures.repeated,
    }


def silent_fraction(samples: NDArray[np.int16], rate: int, dbfs: float) -> float:
    """Return the share of 100 ms blocks whose RMS is below a level.

    Args:
        samples: Mono waveform, (samples,).
        rate: Samples per second.
        dbfs: Level in dB of full scale.
    """
    power = _block_power(samples, rate)
    return float(np.count_nonzero(power < 10 ** (dbfs / 10)) / len(power))


def loudest_dbfs(samples: NDArray[np.int16], rate: int) -> float:
    """Return the RMS of the loudest block of 100 ms in dB of full scale, at least -120.

    Args:
        samples: Mono waveform, (samples,).
        rate: Samples per second.
    """
    power = float(_block_power(samples, rate).max(initial=0.0))
    return max(10 * math.log10(power), QUIETEST_DBFS) if power > 0 else QUIETEST_DBFS


def _block_power(samples: NDArray[np.int16], rate: int) -> NDArray[np.float64]:
    """Return the mean square of each block of 100 ms; of a shorter waveform, of all of it."""
    if len(samples) == 0:
        return np.zeros(1)
    block = int(rate * SILENCE_BLOCK_S)
    count = max(len(samples) // block, 1)
    blocks = samples[: count * block].reshape(count, -1).astype(np.float64) / 32768
    power: NDArray[np.float64] = np.square(blocks).mean(axis=1)
    return power


def still_fraction(lumas: Sequence[NDArray[np.uint8]], difference: float) -> float | None:
    """Return the share of neighbouring frames that hardly differ, or None for a single frame.

    Args:
        lumas: Luma planes, (height, width) each.
        difference: Mean absolute difference (0 to 255) below which two frames count as equal.
    """
    if len(lumas) < 2:
        return None
    pairs = pairwise(lumas)
    still = sum(float(np.abs(a.astype(np.int16) - b).mean()) < difference for a, b in pairs)
    return still / (len(lumas) - 1)


def largest_change(lumas: Sequence[NDArray[np.uint8]]) -> float | None:
    """Return how much any part of the picture changes, or None for a single frame.

    Parts are a sixteenth of the height by a sixteenth of the width. The value is the largest mean
    absolute difference (0 to 255) of a part to the same part of the middle frame.

    Args:
        lumas: Luma planes, (height, width) each.
    """
    if len(lumas) < 2:
        return None
    tall, wide = (max(side // CHANGE_GRID, 1) for side in lumas[0].shape)
    rows, columns = (side // part for side, part in zip(lumas[0].shape, (tall, wide), strict=True))
    cut = slice(rows * tall), slice(columns * wide)
    middle = lumas[len(lumas) // 2][cut].astype(np.int16)
    largest = 0
    for luma in lumas:
        change = np.abs(middle - luma[cut])
        bands = change.reshape(rows, tall, -1).sum(axis=1, dtype=np.int32)
        largest = max(largest, int(bands.reshape(rows, columns, wide).sum(axis=2).max()))
    return float(largest / (tall * wide))


def black_fraction(lumas: Sequence[NDArray[np.uint8]], level: int) -> float | None:
    """Return the share of frames that have 98 % of their pixels below a luma level (0 to 255)."""
    if not lumas:
        return None
    black = sum(np.count_nonzero(y < level) >= BLACK_SHARE * y.size for y in lumas)
    return float(black / len(lumas))


def integrated_loudness(samples: NDArray[np.int16], rate: int) -> float | None:
    """Return a mono waveform's loudness in LUFS, or None if no block passes the absolute gate."""
    step = int(rate * LOUDNESS_STEP_S)
    steps = len(samples) // step
    per_block = round(LOUDNESS_BLOCK_S / LOUDNESS_STEP_S)
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
    """Return the K-weighting at the bins of a real FFT of `size` points."""
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    return (_response(_shelf(rate), z) * _response(_high_pass(rate), z)).astype(np.complex64)


def _fft_size(minimum: int) -> int:
    """Return the next length that is a power of two times 1, 3, 5 or 15."""
    sizes = (f << (max(-(-minimum // f) - 1, 0)).bit_length() for f in (1, 3, 5, 15))
    return min(sizes)


def _response(biquad: _Biquad, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    (b0, b1, b2), (a0, a1, a2) = biquad
    response: NDArray[np.complex128] = (b0 + z * (b1 + z * b2)) / (a0 + z * (a1 + z * a2))
    return response


def _shelf(rate: int) -> _Biquad:
    k = np.tan(np.pi * SHELF_HZ / rate)
    high = 10 ** (SHELF_DB / 20)
    band = high**0.4996667741545416
    top = (high + band * k / SHELF_Q + k * k, 2 * (k * k - high), high - band * k / SHELF_Q + k * k)
    return top, (1 + k / SHELF_Q + k * k, 2 * (k * k - 1), 1 - k / SHELF_Q + k * k)


def _high_pass(rate: int) -> _Biquad:
    k = np.tan(np.pi * PASS_HZ / rate)
    a0 = 1 + k / PASS_Q + k * k
    return (a0, -2 * a0, a0), (a0, 2 * (k * k - 1), 1 - k / PASS_Q + k * k)
