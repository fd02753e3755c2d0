"""From audio packets to the clip's own seconds: mono, 16 bit, at the recipe's rate.

The clock is the container's. A decoder's priming samples (AAC, MP3, Opus, Vorbis) are taken off
by FFmpeg as the container says; what is missing at either end, or in a gap, is zeros.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.extract.decoder_log import Log, complaints, listening
from avstore.pipelines.extract.recipe import Audio
from avstore.pipelines.extract.window import PREROLL_S

GAP_S = 0.04
"""A frame this far from where the last one ended is put at its own time; less is jitter: real
files are told to jump 20 ms to and fro where the sound runs through."""

CLIPPED = 0.9999
_TYPES: dict[str, tuple[type[np.generic], float, float]] = {
    # dtype, the number that means silence, and what makes full scale 1
    "u8": (np.uint8, 128, 1 / 128),
    "s16": (np.int16, 0, 1 / 32768),
    "s32": (np.int32, 0, 1 / 2147483648),
    "flt": (np.float32, 0, 1),
    "dbl": (np.float64, 0, 1),
}


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
class _Native:
    """Decoded samples laid on the clock: mono in [-1, 1], the first at sample `first`."""

    mono: NDArray[np.float32]
    rate: int
    first: int
    clipped_fraction: float


@dataclass(frozen=True)
class _Clip:
    """The clip's clock. tick: seconds of one unit of a presentation time."""

    origin: float
    seconds: float
    tick: float

    def seconds_at(self, pts: int) -> float:
        """A presentation time in seconds from the clip's start."""
        return pts * self.tick - self.origin

    def place(self, pts: int | None, rate: int, expected: int | None) -> int:
        """A frame's first sample, counted from the clip's start. Within GAP_S of where the last
        frame ended it is there.
        """
        if pts is None:
            return expected or 0
        told = round(self.seconds_at(pts) * rate)
        if expected is not None and abs(told - expected) <= GAP_S * rate:
            return expected
        return told


def decode_sound(
    stream: Any, packets: Sequence[Any], origin: Fraction, duration: Fraction, audio: Audio
) -> Sound:
    """The waveform of [origin, origin + duration) of a stream's packets."""
    raised: list[str] = []
    with listening() as log:
        clip = _Clip(float(origin), float(duration), float(stream.time_base))
        native = _decode(stream, packets, clip, audio.downmix, raised=raised, log=log)
    errors = complaints(log, raised)
    wanted = round(duration * audio.rate)
    if native is None:
        return Sound(np.zeros(wanted, np.int16), None, None, 0.0, errors)
    start, end = native.first / native.rate, (native.first + len(native.mono)) / native.rate
    part, first = _part(native, duration, audio.rate)
    at = round(Fraction(first, native.rate) * audio.rate)
    samples = _cut(_resample(part, native.rate, audio), at, wanted)
    return Sound(samples, start, end, native.clipped_fraction, errors)


def _decode(
    stream: Any, packets: Sequence[Any], clip: _Clip, downmix: str, *, raised: list[str], log: Log
) -> _Native | None:
    """Every sample near the clip, at its own place."""
    parts: list[tuple[int, Any]] = []
    form, expected = None, None
    for frame in _frames(stream, packets, clip, raised, log):
        here = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        form = form or here
        if here != form:
            raised.append(f"the sound changes from {form} to {here}")
            continue
        at = clip.place(frame.pts, here[0], expected)
        expected = at + frame.samples
        if -2 * here[0] <= at <= (clip.seconds + 2) * here[0]:
            parts.append((at, frame))
    if form is None or not parts:
        return None
    return _join(parts, downmix)


def _frames(
    stream: Any, packets: Sequence[Any], clip: _Clip, raised: list[str], log: Log
) -> Iterator[Any]:
    """Decoded frames from shortly before the clip on."""
    settling = True
    for packet in (*packets, None):
        at = None if packet is None or packet.pts is None else clip.seconds_at(packet.pts)
        if at is not None and at < -PREROLL_S:
            continue
        if settling and (at is None or at >= 0):
            settling = False  # what a decoder says of packets before the clip is no fault of it
            log.clear()
            raised.clear()
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            raised.append(str(error))


def _join(parts: Sequence[tuple[int, Any]], downmix: str) -> _Native:
    """Frames of one format laid on the clock, each at its first sample."""
    frame = parts[0][1]
    kind, zero, scale = _TYPES[frame.format.name.removesuffix("p")]
    first = min(at for at, _ in parts)
    last = max(at + frame.samples for at, frame in parts)
    native = np.full((frame.layout.nb_channels, last - first), zero, kind)
    for at, frame in parts:
        _copy(frame, native[:, at - first : at - first + frame.samples])
    values = native.astype(np.float32, copy=False)
    if zero:
        values = values - np.float32(zero)
    full = CLIPPED / scale
    peaks = np.count_nonzero(values >= full) + np.count_nonzero(values <= -full)
    one = len(values) == 1 or downmix == "first"
    mono = values[0] if one else values.mean(axis=0, dtype=np.float32)
    if scale != 1:
        mono = mono * np.float32(scale)
    return _Native(mono, frame.sample_rate, first, float(peaks / values.size))


def _copy(frame: Any, out: NDArray[np.generic]) -> None:
    """A frame's samples into channels × samples."""
    channels, count = out.shape
    planes = frame.planes
    if frame.format.is_planar:
        for row, plane in zip(out, planes, strict=True):
            row[:] = np.frombuffer(plane, out.dtype, count)
    else:
        out[:] = np.frombuffer(planes[0], out.dtype, count * channels).reshape(count, channels).T


def _part(native: _Native, duration: Fraction, rate: int) -> tuple[NDArray[np.float32], int]:
    """What the resampler is given: the clip's seconds with a margin, and where that starts.

    Sound cut from the middle of a file is cut a whole number of output samples before the clip's
    start; sound that starts within the clip starts at its own sample.
    """
    margin = int(PREROLL_S * native.rate)
    block = native.rate // gcd(native.rate, rate)
    first = max(native.first, -(margin // block) * block)
    last = min(native.first + len(native.mono), int(duration * native.rate) + margin)
    return native.mono[first - native.first : max(last - native.first, 0)], first


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
    samples: NDArray[np.int16] = np.concatenate([f.to_ndarray()[0] for f in frames])
    return samples


def _cut(samples: NDArray[np.int16], at: int, wanted: int) -> NDArray[np.int16]:
    """`wanted` samples from the clip's start of a waveform that starts at sample `at`."""
    out = np.zeros(wanted, np.int16)
    skip = max(-at, 0)
    start = max(at, 0)
    part = samples[skip : skip + max(wanted - start, 0)]
    out[start : start + len(part)] = part
    return out
