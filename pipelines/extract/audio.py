"""From audio packets to the clip's own seconds: mono, 16 bit, at the recipe's rate.

The clock is the container's. A decoder's priming samples (AAC, MP3, Opus, Vorbis) are taken off
by FFmpeg as the container says; what is missing at either end, or in a gap, is zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipelines.extract.window import PREROLL_S
from pipelines.recipe import Audio

GAP_S = 0.02
"""A frame this far from where the last one ended is put at its own time; less is jitter."""

CLIPPED = 0.9999
_SCALE = {"u8": 1 / 128, "s16": 1 / 32768, "s32": 1 / 2147483648, "flt": 1.0, "dbl": 1.0}


@dataclass(frozen=True)
class Sound:
    """samples: int16 mono, exactly the wanted seconds. start, end: seconds from the clip's start
    of what the file holds (None: nothing decoded). clipped_fraction: of the native samples.
    """

    samples: NDArray[np.int16]
    start: float | None
    end: float | None
    clipped_fraction: float
    errors: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    at: int
    mono: NDArray[np.float32]
    clipped: float


def decode_sound(
    stream: Any, packets: Sequence[Any], origin: Fraction, duration: Fraction, audio: Audio
) -> Sound:
    """The waveform of [origin, origin + duration) of a stream's packets."""
    errors: list[str] = []
    rate, pieces = _pieces(stream, packets, origin, audio, errors)
    wanted = round(duration * audio.rate)
    if not pieces:
        return Sound(np.zeros(wanted, np.int16), None, None, 0.0, tuple(errors))
    native, first = _join(pieces, rate, duration)
    samples = _resample(native, rate, audio)
    at = round(Fraction(first, rate) * audio.rate)
    end = (pieces[-1].at + len(pieces[-1].mono)) / rate
    clipped = sum(p.clipped * len(p.mono) for p in pieces) / sum(len(p.mono) for p in pieces)
    cut = _cut(samples, at, wanted)
    return Sound(cut, pieces[0].at / rate, end, clipped, tuple(errors))


def _pieces(
    stream: Any, packets: Sequence[Any], origin: Fraction, audio: Audio, errors: list[str]
) -> tuple[int, list[_Piece]]:
    """Decoded frames as mono, each at its native sample counted from the clip's start."""
    pieces: list[_Piece] = []
    context, base = stream.codec_context, stream.time_base
    rate, expected = 0, None
    for packet in (*packets, None):
        try:
            frames = context.decode(packet)
        except av.FFmpegError as error:
            errors.append(str(error))
            continue
        for frame in frames:
            if rate and frame.sample_rate != rate:
                errors.append(f"sample rate changes from {rate} to {frame.sample_rate}")
                continue
            rate = frame.sample_rate
            at = expected
            if frame.pts is not None:
                told = round((frame.pts * (frame.time_base or base) - origin) * rate)
                if at is None or abs(told - at) > GAP_S * rate:
                    at = told
            at = 0 if at is None else at
            mono, clipped = _mono(frame, audio.downmix)
            expected = at + len(mono)
            pieces.append(_Piece(at, mono, clipped))
    return rate, pieces


def _mono(frame: Any, downmix: str) -> tuple[NDArray[np.float32], float]:
    """One frame as mono in [-1, 1], and the share of its native samples at full scale."""
    array = frame.to_ndarray()
    name = frame.format.name.removesuffix("p")
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    values = array.astype(np.float32)
    if name == "u8":
        values -= 128
    if (scale := _SCALE[name]) != 1.0:
        values *= np.float32(scale)
    clipped = np.count_nonzero(np.abs(values) >= CLIPPED) / max(values.size, 1)
    if len(values) == 1 or downmix == "first":
        return values[0], float(clipped)
    return values.mean(axis=0, dtype=np.float32), float(clipped)


def _join(
    pieces: Sequence[_Piece], rate: int, duration: Fraction
) -> tuple[NDArray[np.float32], int]:
    """Pieces laid on the clock: the native waveform, and where it starts (native samples).

    It starts where a whole number of output samples has passed since the clip's start only if
    cut there; sound that starts later or earlier by itself starts at its own sample.
    """
    margin = int(PREROLL_S * rate)
    block = rate // gcd(rate, 16000)
    first = max(min(p.at for p in pieces), -(margin // block) * block)
    last = min(max(p.at + len(p.mono) for p in pieces), int(duration * rate) + margin)
    native = np.zeros(max(last - first, 0), np.float32)
    for piece in pieces:
        start = piece.at - first
        skip = max(-start, 0)
        part = piece.mono[skip : max(len(native) - start, 0)]
        native[start + skip : start + skip + len(part)] = part
    return native, first


def _resample(native: NDArray[np.float32], rate: int, audio: Audio) -> NDArray[np.int16]:
    """To the recipe's rate, rounded to 16 bit without dither."""
    if len(native) == 0:
        return np.zeros(0, np.int16)
    if audio.resampler == "soxr":
        import soxr  # noqa: PLC0415 - only where the recipe asks for it

        values: NDArray[np.float64] = soxr.resample(
            native.astype(np.float64), rate, audio.rate, quality="HQ"
        )
        return np.clip(np.rint(values * 32768), -32768, 32767).astype(np.int16)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=audio.rate)
    frame = av.AudioFrame.from_ndarray(native[None, :], format="fltp", layout="mono")
    frame.sample_rate = rate
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    resampled: NDArray[np.int16] = np.concatenate([f.to_ndarray()[0] for f in frames])
    return resampled


def _cut(samples: NDArray[np.int16], at: int, wanted: int) -> NDArray[np.int16]:
    """`wanted` samples from the clip's start of a waveform that starts at sample `at`."""
    out = np.zeros(wanted, np.int16)
    skip = max(-at, 0)
    start = max(at, 0)
    part = samples[skip : skip + max(wanted - start, 0)]
    out[start : start + len(part)] = part
    return out
