"""Decode a clip's audio packets to the stored waveform, and encode the waveform as FLAC.

The clock is the container's. FFmpeg removes a decoder's priming samples (AAC, MP3, Opus, Vorbis)
as the container declares them. Missing samples at either end, or in a gap, are zeros, unless the
recipe asks for the file's own length.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.extract.channels import (
    ChannelLayout,
    one_channel,
    require_ambisonic,
    to_layout,
)
from avstore.pipelines.extract.coverage import Span, join_spans
from avstore.pipelines.extract.decoder_log import DecoderLog, decode_errors, record_decoder_log
from avstore.pipelines.extract.recipe_sections import AudioSettings
from avstore.pipelines.extract.window import PREROLL_S

GAP_S = 0.04
"""Seconds. A frame farther than this from the end of the last one is put at its own time.

A smaller distance is jitter: timestamps of real files jump while the audio is continuous.
"""

CLIPPED = 0.9999
"""Absolute value, with full scale 1, from which a sample counts as clipped."""

_TYPES: dict[str, tuple[type[np.generic], float, float]] = {
    # dtype, value of silence, and the factor that makes full scale 1
    "u8": (np.uint8, 128, 1 / 128),
    "s16": (np.int16, 0, 1 / 32768),
    "s32": (np.int32, 0, 1 / 2147483648),
    "flt": (np.float32, 0, 1),
    "dbl": (np.float64, 0, 1),
}


@dataclass(frozen=True)
class Waveform:
    """Hold a clip's audio as it is stored.

    Attributes:
        samples: 16 bits, (channels, samples): exactly the wanted seconds, or what the file has of
            them.
        start: Start of the decoded audio, in seconds from the clip's start; None without any.
        spans: Stretches with decoded audio, in seconds from the clip's start.
        clipped_fraction: Share of native samples at full scale, in [0, 1].
        errors: Messages of the decoder.
    """

    samples: NDArray[np.int16]
    start: float | None
    spans: tuple[Span, ...]
    clipped_fraction: float
    errors: tuple[str, ...]

    @property
    def mono(self) -> NDArray[np.int16]:
        """The channel that `one_channel` returns, (samples,)."""
        return one_channel(self.samples)


@dataclass(frozen=True)
class _Native:
    """Hold the recipe's channels at the file's rate, on the clip's clock.

    `channels` are (channels, samples) in [-1, 1], the first at sample `first`. `spans` are the
    seconds that frames cover; between them, samples are zeros.
    """

    channels: NDArray[np.float32]
    rate: int
    first: int
    spans: tuple[Span, ...]
    clipped_fraction: float

    @property
    def end(self) -> int:
        """The sample after the last."""
        return self.first + len(self.channels[0])


@dataclass(frozen=True)
class _Clock:
    """Convert presentation times to the clip's clock; `tick` is seconds per unit.

    If `joined`, each frame follows the last one, whatever its time.
    """

    origin: float
    seconds: float
    tick: float
    joined: bool

    def seconds_at(self, pts: int) -> float:
        """Return a presentation time in seconds from the clip's start."""
        return pts * self.tick - self.origin

    def first_sample(self, pts: int | None, rate: int, expected: int | None) -> int:
        """Return a frame's first sample, counted from the clip's start.

        It is `expected`, the end of the last frame, if the time is within GAP_S of that.
        """
        if pts is None or (self.joined and expected is not None):
            return expected or 0
        timed = round(self.seconds_at(pts) * rate)
        if expected is not None and abs(timed - expected) <= GAP_S * rate:
            return expected
        return timed


def decode_audio(
    stream: Any,
    packets: Sequence[Any],
    origin: Fraction,
    duration: Fraction,
    audio: AudioSettings,
    *,
    whole_file: bool = False,
) -> Waveform:
    """Decode [origin, origin + duration) of a stream's packets.

    With `length = "file"`, zeros are added nowhere at the ends.

    Args:
        stream: The audio stream.
        packets: Its packets in stream order.
        origin: Start of the clip on the container's clock, in seconds.
        duration: Wanted seconds.
        audio: The recipe's audio settings.
        whole_file: Whether the file is the clip. With `length = "file"`, all its samples are then
            joined in order, as `ffmpeg -i clip.mp4 clip.wav` does, whatever their times.

    Raises:
        Rejected: The file lacks the channels of the recipe's layout: `wrong_channels`.
    """
    joined = whole_file and audio.length == "file"
    exceptions: list[str] = []
    with record_decoder_log() as log:
        seconds = math.inf if joined else float(duration)
        clock = _Clock(float(origin), seconds, float(stream.time_base), joined)
        native = _decode(stream, packets, clock, audio, exceptions=exceptions, log=log)
    errors = decode_errors(log, exceptions)
    if native is None:
        missing = 0 if audio.length == "file" else round(duration * audio.rate)
        return Waveform(np.zeros((audio.channels, missing), np.int16), None, (), 0.0, errors)
    samples = _resample_file(native, audio) if joined else _resample_clip(native, duration, audio)
    if audio.layout == "foa":
        require_ambisonic(samples)
    start = native.first / native.rate
    return Waveform(samples, start, native.spans, native.clipped_fraction, errors)


def _decode(
    stream: Any,
    packets: Sequence[Any],
    clock: _Clock,
    audio: AudioSettings,
    *,
    exceptions: list[str],
    log: DecoderLog,
) -> _Native | None:
    """Decode every sample near the clip and put it at its own time."""
    parts: list[tuple[int, Any]] = []
    layout: tuple[Any, ...] | None = None
    expected = None
    for frame in _decoded_frames(stream, packets, clock, exceptions, log):
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        current: tuple[Any, ...] = (rate, channels, frame.format.name)
        if audio.downmix not in ("mean", "first") or audio.channels > 1:
            current = (*current, frame.layout.name)  # the place of a channel matters
        layout = layout or current
        if current != layout:
            exceptions.append(f"the audio changes from {layout} to {current}")
            continue
        at = clock.first_sample(frame.pts, rate, expected)
        expected = at + frame.samples
        if clock.joined or -2 * rate <= at <= (clock.seconds + 2) * rate:
            parts.append((at, frame))
    rounded = clock.joined and audio.resampler == "soxr"
    codec = stream.codec_context.codec.canonical_name
    return _join(parts, codec, audio, rounded=rounded) if parts else None


def _decoded_frames(
    stream: Any,
    packets: Sequence[Any],
    clock: _Clock,
    exceptions: list[str],
    log: DecoderLog,
) -> Iterator[Any]:
    """Yield decoded audio frames from PREROLL_S before the clip on."""
    in_preroll, preroll = True, float(PREROLL_S)  # comparing a Fraction takes as long as decoding
    for packet in (*packets, None):
        at = None if packet is None or packet.pts is None else clock.seconds_at(packet.pts)
        if at is not None and at < -preroll and not clock.joined:
            continue
        if in_preroll and (at is None or at >= 0):
            in_preroll = False  # errors of packets before the clip are not the clip's
            log.clear()
            exceptions.clear()
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            exceptions.append(str(error))


def _join(
    parts: Sequence[tuple[int, Any]], codec: str, audio: AudioSettings, *, rounded: bool
) -> _Native:
    """Join frames of one format, each at its first sample, and take the recipe's channels.

    If `rounded`, the channels are 16-bit first, as what librosa reads of a video.
    """
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
    if rounded and scale == 1:
        values = (np.clip(np.rint(values * 32768), -32768, 32767) / 32768).astype(np.float32)
    rate = frame.sample_rate
    channels = to_layout(values, ChannelLayout.of(codec, frame.layout), rate, audio)
    if scale != 1:
        channels = channels * np.float32(scale)
    spans = join_spans((at / rate, (at + frame.samples) / rate) for at, frame in parts)
    return _Native(channels, rate, first, spans, float(peaks / values.size))


def _copy(frame: Any, out: NDArray[np.generic]) -> None:
    """Copy a frame's samples to (channels, samples)."""
    channels, count = out.shape
    planes = frame.planes
    if frame.format.is_planar:
        # Of eight channels, PyAV 18.1 lists a ninth plane.
        for row, plane in zip(out, planes[:channels], strict=True):
            row[:] = np.frombuffer(plane, out.dtype, count)
    else:
        out[:] = np.frombuffer(planes[0], out.dtype, count * channels).reshape(count, channels).T


def _resample_clip(native: _Native, duration: Fraction, audio: AudioSettings) -> NDArray[np.int16]:
    """Resample the clip's seconds; with `length = "file"`, what the file has of them."""
    part, first = _resampler_input(native, duration, audio.rate)
    at = round(Fraction(first, native.rate) * audio.rate)
    samples = _cut(_resample(part, native.rate, audio), at, round(duration * audio.rate))
    if audio.length == "clip":
        return samples
    ends = (native.first / native.rate, native.end / native.rate)
    start, end = (max(round(at * audio.rate), 0) for at in ends)
    return samples[:, start:end]


def _resampler_input(
    native: _Native, duration: Fraction, rate: int
) -> tuple[NDArray[np.float32], int]:
    """Return the clip's seconds with a margin, and the first native sample of that.

    Audio that continues before the clip is cut a whole number of output samples before the clip's
    start, so that resampling keeps its phase; audio that starts within the clip starts at its own
    sample.
    """
    margin = int(PREROLL_S * native.rate)
    block = native.rate // gcd(native.rate, rate)
    first = max(native.first, -(margin // block) * block)
    last = min(native.end, int(duration * native.rate) + margin)
    return native.channels[:, first - native.first : max(last - native.first, 0)], first


def _resample(native: NDArray[np.float32], rate: int, audio: AudioSettings) -> NDArray[np.int16]:
    """Resample each channel, as if it were alone, and round it to 16 bits without dither."""
    return np.stack([_resample_channel(channel, rate, audio) for channel in native])


def _resample_channel(
    native: NDArray[np.float32], rate: int, audio: AudioSettings
) -> NDArray[np.int16]:
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


def _resample_file(native: _Native, audio: AudioSettings) -> NDArray[np.int16]:
    """Resample all of a file's samples; by soxr to a rounded-up number of them, as librosa does."""
    samples = _resample(native.channels, native.rate, audio)
    if audio.resampler == "soxr":
        wanted = -(-native.channels.shape[1] * audio.rate // native.rate)
        missing = max(wanted - samples.shape[1], 0)
        samples = np.pad(samples, ((0, 0), (0, missing)))[:, :wanted]
    return samples


def _cut(samples: NDArray[np.int16], at: int, wanted: int) -> NDArray[np.int16]:
    """Return `wanted` samples from the clip's start; `samples` start at its sample `at`."""
    out = np.zeros((len(samples), wanted), np.int16)
    skip = max(-at, 0)
    start = max(at, 0)
    part = samples[:, skip : skip + max(wanted - start, 0)]
    out[:, start : start + part.shape[1]] = part
    return out


_FLAC_LAYOUTS = {1: "mono", 2: "stereo", 4: "quad"}


def encode_flac(samples: NDArray[np.int16], rate: int) -> bytes:
    """Encode a waveform as a FLAC file; same samples, same bytes.

    Four channels are those of first-order ambisonics. FLAC has no layout for them; `quad`, its own
    one of four channels, is that which no encoder or decoder mixes or permutes.

    Args:
        samples: 16 bits, (channels, samples) of 1, 2 or 4 channels, or (samples,) of one.
        rate: Samples per second.
    """
    channels = np.atleast_2d(samples)
    layout = _FLAC_LAYOUTS[len(channels)]
    interleaved = np.ascontiguousarray(channels.T).reshape(1, -1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=rate)
        context = stream.codec_context
        context.format, context.layout = "s16", layout
        context.flags |= av.codec.context.Flags.bitexact.value
        context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
        frame.sample_rate = rate
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return buffer.getvalue()
