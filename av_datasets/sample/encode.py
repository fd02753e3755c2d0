"""A scene as a video file, by PyAV, the same bytes every time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from avstore.datasets.sample.scene import FPS, HEIGHT, RATE, WIDTH, Picture

_BLOCK = 8820


@dataclass(frozen=True)
class Format:
    """A container and its codecs, with every setting that could differ between runs fixed."""

    container: str
    suffix: str
    video: str
    video_options: dict[str, str]
    audio: str
    muxer_options: dict[str, str]
    sample_format: str


MP4 = Format(
    container="mp4",
    suffix=".mp4",
    video="libx264",
    video_options={"preset": "ultrafast", "crf": "26", "threads": "1", "x264-params": "threads=1"},
    audio="aac",
    muxer_options={"movflags": "+faststart", "fflags": "+bitexact"},
    sample_format="fltp",
)
# Fine enough that no later frame has anything to mend: not one pixel moves.
STILL_MP4 = replace(MP4, video_options={**MP4.video_options, "crf": "8"})
WEBM = Format(
    container="webm",
    suffix=".webm",
    video="libvpx-vp9",
    video_options={"deadline": "realtime", "cpu-used": "8", "crf": "36", "b": "0", "threads": "1"},
    audio="libopus",
    muxer_options={"fflags": "+bitexact"},
    sample_format="s16",
)


def write_video(
    path: Path,
    form: Format,
    frames: Iterable[Picture] | None,
    samples: npt.NDArray[np.int16] | None,
) -> None:
    """Write frames (planar YUV 4:2:0, 25 a second) and mono samples (44.1 kHz) to `path`."""
    with av.open(str(path), "w", format=form.container, options=form.muxer_options) as out:
        video = audio = None
        if frames is not None:
            video = out.add_stream(form.video, rate=FPS, options=form.video_options)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.flags |= av.codec.context.Flags.bitexact
        if samples is not None:
            rate = RATE if form.audio == "aac" else 48000
            audio = out.add_stream(form.audio, rate=rate, layout="mono")
            audio.bit_rate = 64000
            audio.codec_context.thread_count = 1
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
        _interleave(out, video, audio, frames or (), samples)


def _interleave(
    out: av.container.OutputContainer,
    video: av.VideoStream | None,
    audio: av.AudioStream | None,
    frames: Iterable[Picture],
    samples: npt.NDArray[np.int16] | None,
) -> None:
    """Encode sound and picture side by side in time, so that the muxer need not hold much."""
    play = _player(out, audio, samples)
    for index, picture in enumerate(frames):
        assert video is not None
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index
        out.mux(video.encode(frame))
        play((index + 1) / FPS)
    play(float("inf"))
    for stream in (video, audio):
        if stream is not None:
            out.mux(stream.encode(None))


def _player(
    out: av.container.OutputContainer,
    audio: av.AudioStream | None,
    samples: npt.NDArray[np.int16] | None,
) -> Callable[[float], None]:
    """A function that encodes the sound up to a second."""
    if audio is None or samples is None:
        return lambda _until: None
    resampler = av.AudioResampler(format=audio.format.name, layout="mono", rate=audio.rate)
    done = 0

    def play(until_s: float) -> None:
        nonlocal done
        while done < len(samples) and done < until_s * RATE:
            frame = av.AudioFrame.from_ndarray(samples[None, done : done + _BLOCK], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, done
            done += frame.samples
            for part in resampler.resample(frame):
                out.mux(audio.encode(part))
        if until_s == float("inf"):
            for part in resampler.resample(None):
                out.mux(audio.encode(part))

    return play
