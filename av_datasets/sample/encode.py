"""Encode a scene as a video file with PyAV, with the same bytes every time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from avstore.datasets.sample import panorama
from avstore.datasets.sample.scene import FPS, HEIGHT, RATE, WIDTH, Picture

_BLOCK = 8820


@dataclass(frozen=True)
class VideoFormat:
    """A container and its codecs, with every setting fixed that could differ between runs.

    Attributes:
        container: Name of the muxer.
        suffix: File extension.
        video: Video encoder.
        video_options: Its options.
        audio: Audio encoder.
        muxer_options: Options of the muxer.
        sample_format: Sample format of the audio encoder.
        audio_rate: Samples per second of the stored audio.
        size: Width and height of the frames, in pixels.
        fps: Frames per second.
        rate: Samples per second of the audio that is given.
        layout: FFmpeg's name of its channels.
    """

    container: str
    suffix: str
    video: str
    video_options: dict[str, str]
    audio: str
    muxer_options: dict[str, str]
    sample_format: str
    audio_rate: int
    size: tuple[int, int] = (WIDTH, HEIGHT)
    fps: int = FPS
    rate: int = RATE
    layout: str = "mono"


MP4 = VideoFormat(
    container="mp4",
    suffix=".mp4",
    video="libx264",
    video_options={"preset": "ultrafast", "crf": "26", "threads": "1", "x264-params": "threads=1"},
    audio="aac",
    muxer_options={"movflags": "+faststart", "fflags": "+bitexact"},
    sample_format="fltp",
    audio_rate=RATE,
)
# A quality at which later frames correct nothing, so that not one pixel changes.
STILL_MP4 = replace(MP4, video_options={**MP4.video_options, "crf": "8"})
WEBM = VideoFormat(
    container="webm",
    suffix=".webm",
    video="libvpx-vp9",
    video_options={"deadline": "realtime", "cpu-used": "8", "crf": "36", "b": "0", "threads": "1"},
    audio="libopus",
    muxer_options={"fflags": "+bitexact"},
    sample_format="s16",
    audio_rate=48000,
)
# Lossless sound of four channels. With x264's lookahead (presets from veryfast on, core 165) such
# small pictures give other bytes from one encoder to the next in the same process.
PANORAMA = VideoFormat(
    container="matroska",
    suffix=".mkv",
    video="libx264",
    video_options={"preset": "superfast", "crf": "18", "threads": "1", "x264-params": "threads=1"},
    audio="flac",
    muxer_options={"fflags": "+bitexact"},
    sample_format="s16",
    audio_rate=panorama.RATE,
    size=(panorama.WIDTH, panorama.HEIGHT),
    fps=panorama.FPS,
    rate=panorama.RATE,
    layout="quad",
)


def write_video(
    path: Path,
    form: VideoFormat,
    frames: Iterable[Picture] | None,
    samples: npt.NDArray[np.int16] | None,
) -> None:
    """Write a video file.

    Args:
        path: The file.
        form: Container and codecs.
        frames: Planar YUV 4:2:0 frames of the format's size, uint8 [1.5 height, width]; None for
            no video.
        samples: Samples of the format's rate and layout, int16 [channels, samples], or [samples]
            of one channel; None for no audio.
    """
    with av.open(str(path), "w", format=form.container, options=form.muxer_options) as out:
        video = audio = None
        if frames is not None:
            video = out.add_stream(form.video, rate=form.fps, options=form.video_options)
            video.width, video.height = form.size
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
            video.codec_context.flags |= av.codec.context.Flags.bitexact
        if samples is not None:
            audio = out.add_stream(form.audio, rate=form.audio_rate, layout=form.layout)
            audio.bit_rate = 64000
            audio.codec_context.thread_count = 1
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
        _interleave(out, form, video, audio, frames or (), samples)


def _interleave(
    out: av.container.OutputContainer,
    form: VideoFormat,
    video: av.VideoStream | None,
    audio: av.AudioStream | None,
    frames: Iterable[Picture],
    samples: npt.NDArray[np.int16] | None,
) -> None:
    """Encode audio and video in step, so that the muxer buffers little."""
    play = _player(out, form, audio, samples)
    for index, picture in enumerate(frames):
        assert video is not None
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index
        out.mux(video.encode(frame))
        play((index + 1) / form.fps)
    play(float("inf"))
    for stream in (video, audio):
        if stream is not None:
            out.mux(stream.encode(None))


def _player(
    out: av.container.OutputContainer,
    form: VideoFormat,
    audio: av.AudioStream | None,
    samples: npt.NDArray[np.int16] | None,
) -> Callable[[float], None]:
    """Return a function that encodes the audio up to a given second."""
    if audio is None or samples is None:
        return lambda _until: None
    resampler = av.AudioResampler(format=audio.format.name, layout=form.layout, rate=audio.rate)
    channels = np.atleast_2d(samples)
    total = channels.shape[1]
    done = 0

    def play(until_s: float) -> None:
        nonlocal done
        while done < total and done < until_s * form.rate:
            block = np.ascontiguousarray(channels[:, done : done + _BLOCK])
            frame = av.AudioFrame.from_ndarray(block, "s16p", form.layout)
            frame.sample_rate, frame.pts = form.rate, done
            done += frame.samples
            for part in resampler.resample(frame):
                out.mux(audio.encode(part))
        if until_s == float("inf"):
            for part in resampler.resample(None):
                out.mux(audio.encode(part))

    return play
