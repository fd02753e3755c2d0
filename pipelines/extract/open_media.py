"""Open a file as hostile input, within limits, and read what its container declares.

The limits belong to safety, not to a recipe: they change no result, only which files are refused.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.codec.hwaccel import HWAccel

from avstore.manifests.guarded_media import (
    FOREIGN,
    MAX_PIXELS,
    ForbiddenCodecError,
    open_foreign,
    require_allowed,
)
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.records import MediaFacts, Rejected

MAX_SOURCE_S = 24 * 3600.0
"""Longest source video, in seconds."""

MAX_WINDOW_BYTES = 1 << 29
"""Most compressed bytes within a clip's own seconds."""

MAX_WINDOW_FRAMES = 100_000
"""Most video packets within a clip's own seconds (240 a second for 400 s)."""

MAX_PREROLL_S = Fraction(1, 25)
"""Seconds. A start that is at most this far below 0 is a decoder's pre-roll."""


@dataclass(frozen=True)
class OpenedMedia:
    """Hold an open container and its selected streams.

    Attributes:
        container: The open container.
        video: The selected video stream; None if the recipe stores no pictures.
        audio: The selected audio stream, if any.
        start: Start of the container's clock, in seconds.
    """

    container: Any
    video: Any
    audio: Any | None
    start: Fraction


@contextmanager
def open_media(path: str, hwaccel: HWAccel | None = None) -> Iterator[Any]:
    """Open the container of a local file within the limits.

    Args:
        path: A local file.
        hwaccel: The device that decodes video; None for the CPU.

    Raises:
        Rejected: The file is not a media file of an allowed kind.
        OSError: The file cannot be read (missing, no permission, failing disk).
    """
    with ExitStack() as opened:
        container = _enter(opened, path, hwaccel)
        yield container


def _enter(opened: ExitStack, path: str, hwaccel: HWAccel | None) -> Any:
    try:
        return opened.enter_context(open_foreign(path, hwaccel))
    except (av.error.FileNotFoundError, av.error.PermissionError) as error:
        raise OSError(error.errno, error.strerror, path) from error
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        detail = f"not a media file of an allowed kind: {reason}"
        raise Rejected(Verdict.UNDECODABLE, detail) from error


def select_streams(
    container: Any, *, pictures: bool = True, sound: bool | None = True
) -> OpenedMedia:
    """Select the video and audio stream as av_find_best_stream does, and check the limits.

    Args:
        container: The open container.
        pictures: Whether the video stream is needed. If not, it is not selected.
        sound: Whether the audio stream is needed; None selects it if there is one.

    Raises:
        Rejected: A stream or its decoder is missing, its codec is not allowed, or picture or
            duration is over a limit.
    """
    video = _select_video(container) if pictures else None
    seconds = (container.duration or 0) / av.time_base
    if seconds > MAX_SOURCE_S:
        limit = f"limit {MAX_SOURCE_S:.0f} s"
        raise Rejected(Verdict.BAD_TIMESTAMPS, f"the header says {seconds:.0f} s ({limit})")
    audio = None if sound is False else _select_audio(container, required=sound is True)
    for stream in (video, audio):
        if stream is not None:
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
    return OpenedMedia(container, video, audio, _start(container))


def _select_video(container: Any) -> Any:
    video = _best(container, "video")
    if video is None:
        raise Rejected(Verdict.NO_VIDEO, "no video stream")
    if video.codec_context is None:
        raise Rejected(Verdict.UNDECODABLE, "no decoder for the video stream")
    require_allowed_codec(video)
    pixels = video.codec_context.width * video.codec_context.height
    if pixels == 0:
        raise Rejected(Verdict.UNDECODABLE, f"no picture size, or one over {MAX_PIXELS} pixels")
    if pixels > MAX_PIXELS:
        size = f"{video.codec_context.width} x {video.codec_context.height}"
        detail = f"picture of {size} pixels (limit {MAX_PIXELS})"
        raise Rejected(Verdict.UNDECODABLE, detail, by_policy=True)
    return video


def _select_audio(container: Any, *, required: bool) -> Any | None:
    audio = _best(container, "audio")
    if audio is None and required:
        raise Rejected(Verdict.NO_AUDIO, "no audio stream")
    if audio is not None and audio.codec_context is None:
        raise Rejected(Verdict.NO_AUDIO, "no decoder for the audio stream")
    if audio is not None:
        require_allowed_codec(audio)
    return audio


def _start(container: Any) -> Fraction:
    """Return the start of what is presented on the container's clock, in seconds.

    A small negative start is a decoder's pre-roll (AAC priming, Opus pre-skip): 0 then. In
    Matroska, the pictures and the sound themselves may begin before 0.
    """
    declared = Fraction(container.start_time or 0, av.time_base)
    if declared >= -MAX_PREROLL_S:
        return max(declared, Fraction(0))
    with open_media(container.name.removeprefix("file:")) as reopened:
        try:
            presented = min(_first_times(reopened), default=declared)
        except (av.FFmpegError, IndexError):  # read_window meets and notes it again
            presented = declared
    return presented if presented < -MAX_PREROLL_S else Fraction(0)


def _first_times(container: Any) -> Iterator[Fraction]:
    """Yield when the first packet of the best video and audio stream is presented, in seconds."""
    best = (container.streams.best(kind) for kind in ("video", "audio"))
    streams = [stream for stream in best if stream is not None]
    for packet in container.demux(streams):
        if packet.stream not in streams or packet.pts is None:
            continue
        streams.remove(packet.stream)
        skipped = Fraction(0)
        if packet.has_sidedata("skip_samples"):
            count = int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")
            skipped = Fraction(count, packet.stream.codec_context.sample_rate or 1)
        yield packet.pts * packet.time_base + skipped
        if not streams:
            return


def require_allowed_codec(stream: Any) -> None:
    """Raise Rejected, `undecodable`, unless the codec of a stream is an allowed one."""
    try:
        require_allowed(stream, FOREIGN)
    except ForbiddenCodecError as error:
        raise Rejected(Verdict.UNDECODABLE, str(error), by_policy=True) from error


class FileState(NamedTuple):
    """What tells one content of a file from another without reading it."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int


def file_state(path: str) -> FileState:
    """Return a file's state. Raises OSError if it cannot be found."""
    found = os.stat(path)
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def size_and_sha256(path: str) -> tuple[int, str]:
    """Return the size in bytes and the sha256 (hex) of a regular file.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def media_facts(container: Any, size: int, digest: str) -> MediaFacts:
    """Return what the container and its streams declare, without decoding."""
    video = _best(container, "video")
    audio = _best(container, "audio")
    seconds = container_seconds(container)
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


def container_seconds(container: Any) -> float | None:
    """Return the duration that the container declares in seconds, or None."""
    return None if container.duration is None else float(container.duration / av.time_base)


def stream_offset_ms(opened: OpenedMedia) -> float | None:
    """Return the start of the audio minus the start of the video by the container, in ms."""
    video, audio = opened.video, opened.audio
    if video is None or video.start_time is None:
        return None
    if audio is None or audio.start_time is None:
        return None
    seconds = audio.start_time * audio.time_base - video.start_time * video.time_base
    return float(seconds * 1000)


def _best(container: Any, kind: str) -> Any | None:
    """Return the best stream of a kind; a cover picture is not a video stream."""
    stream = container.streams.best(kind)
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        return None
    return stream
