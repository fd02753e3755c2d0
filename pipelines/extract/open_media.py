"""Opening a file as hostile input, and what its container says."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.limits import DECODERS, DEMUXERS, MAX_PIXELS, MAX_SOURCE_S
from avstore.pipelines.extract.records import MediaFacts
from avstore.pipelines.extract.rejected import Rejected

OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": DEMUXERS,
    "codec_whitelist": DECODERS,
    "enable_drefs": "0",
    "max_pixels": str(MAX_PIXELS),
    "threads": "1",
}


@dataclass(frozen=True)
class Opened:
    """An open container with the two streams that count. `start`: its origin, in seconds."""

    container: Any
    video: Any
    audio: Any | None
    start: Fraction


@contextmanager
def open_media(path: str) -> Iterator[Any]:
    """The container of a local file, opened within the limits.

    Raises:
        Rejected: not a media file of an allowed kind.
        OSError: the file cannot be read at all (gone, no permission, failing disk).
    """
    try:
        container = av.open(
            f"file:{path}", options=OPTIONS, metadata_errors="ignore", buffer_size=1 << 16
        )
    except (av.error.FileNotFoundError, av.error.PermissionError) as error:
        raise OSError(error.errno, error.strerror, path) from error
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise _not_media(path, error) from error
    with container:
        yield container


def choose_streams(container: Any, want_audio: bool = True) -> Opened:
    """The video and audio stream that av_find_best_stream chooses, checked against the limits.

    Raises Rejected: no video, no audio, a picture or a duration over the limits, no decoder.
    """
    video = _best(container, "video")
    if video is None:
        raise Rejected(Verdict.NO_VIDEO, "no video stream")
    if video.codec_context is None:
        raise Rejected(Verdict.UNDECODABLE, "no decoder for the video stream")
    pixels = video.codec_context.width * video.codec_context.height
    if pixels == 0:
        raise Rejected(Verdict.UNDECODABLE, f"no picture size, or one over {MAX_PIXELS} pixels")
    if pixels > MAX_PIXELS:
        size = f"{video.codec_context.width} x {video.codec_context.height}"
        raise Rejected(Verdict.UNDECODABLE, f"picture of {size} pixels (limit {MAX_PIXELS})")
    seconds = (container.duration or 0) / av.time_base
    if seconds > MAX_SOURCE_S:
        limit = f"limit {MAX_SOURCE_S:.0f} s"
        raise Rejected(Verdict.BAD_TIMESTAMPS, f"the header says {seconds:.0f} s ({limit})")
    audio = _best(container, "audio")
    if audio is None and want_audio:
        raise Rejected(Verdict.NO_AUDIO, "no audio stream")
    if audio is not None and audio.codec_context is None:
        raise Rejected(Verdict.NO_AUDIO, "no decoder for the audio stream")
    for stream in (video, audio):
        if stream is not None:
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
    # A negative start is a decoder's pre-roll (AAC priming, Opus pre-skip) and is not presented.
    start = Fraction(max(container.start_time or 0, 0), av.time_base)
    return Opened(container, video, audio, start)


def sha256_of(path: str) -> tuple[int, str]:
    """Size in bytes and sha256 (hex) of a regular file. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def media_facts(container: Any, size: int, digest: str) -> MediaFacts:
    """What the container and its streams say of themselves, nothing decoded."""
    video = _best(container, "video")
    audio = _best(container, "audio")
    seconds = None if container.duration is None else container.duration / av.time_base
    picture: dict[str, Any] = {}
    if video is not None and video.codec_context is not None:
        rate = video.average_rate or video.guessed_rate
        picture = {
            "video_codec": video.codec_context.codec.canonical_name,
            "width": video.codec_context.width,
            "height": video.codec_context.height,
            "fps": float(rate) if rate else None,
            "frames": video.frames or None,
        }
    sound: dict[str, Any] = {}
    if audio is not None and audio.codec_context is not None:
        sound = {
            "audio_codec": audio.codec_context.codec.canonical_name,
            "audio_rate": audio.codec_context.sample_rate,
            "audio_channels": audio.codec_context.channels,
        }
    name = container.format.name
    return MediaFacts(size, digest, container=name, duration_s=seconds, **picture, **sound)


def stream_offset_ms(opened: Opened) -> float | None:
    """First audio instant minus first video instant by the container, in milliseconds."""
    video, audio = opened.video, opened.audio
    if audio is None or audio.start_time is None or video.start_time is None:
        return None
    seconds = audio.start_time * audio.time_base - video.start_time * video.time_base
    return float(seconds * 1000)


def _best(container: Any, kind: str) -> Any | None:
    stream = container.streams.best(kind)
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        return None
    return stream


def _not_media(path: str, error: Exception) -> Rejected:
    reason = getattr(error, "strerror", None) or str(error)
    if cut := _cut_box(path):
        return Rejected(Verdict.TRUNCATED, cut)
    return Rejected(Verdict.UNDECODABLE, f"not a media file of an allowed kind: {reason}")


def _cut_box(path: str) -> str | None:
    """For an MP4 whose file ends within a top-level box: which, and by how much."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if at == 0 and kind != b"ftyp":
                return None
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return None
            if at + length > size:
                name = kind.decode("ascii", "replace")
                return f"the file ends {at + length - size} bytes before its box '{name}' does"
            at += length
    return None
