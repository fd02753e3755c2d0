"""Open media as hostile input: the one place that gives a file or bytes to FFmpeg.

FFmpeg gets lists of demuxers, decoders and protocols. Playlists, image sequences and references to
other files are not on them, and a decoder that is not on them never runs.
`tests/avstore/test_media_opening.py` finds media that is opened elsewhere.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import Flags

_DECODING_TIMES = {"avi", "asf", "matroska,webm"}
"""Formats in which a picture may have no presentation time; FFmpeg's `genpts` would invent one."""

_DECODER_LIMITS = ("codec_whitelist", "max_pixels")

MAX_PIXELS = 8192 * 4608
"""Largest coded picture, in pixels: a little over 8K UHD."""


@dataclass(frozen=True)
class AllowedMedia:
    """What FFmpeg may use to read one kind of media.

    Attributes:
        demuxers: FFmpeg's names of the demuxers, separated by commas.
        decoders: FFmpeg's names of the decoders, separated by commas.
    """

    demuxers: str
    decoders: str

    def options(self, protocol: str) -> dict[str, str]:
        """Return FFmpeg's options for a container; `protocol` is the only one it may use."""
        return {
            "protocol_whitelist": protocol,
            "format_whitelist": self.demuxers,
            "codec_whitelist": self.decoders,  # for the decoders that probe a stream
            "enable_drefs": "0",
            "max_pixels": str(MAX_PIXELS),
            "threads": "1",
        }


FOREIGN = AllowedMedia(
    demuxers=(
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,mpegts,mpeg,ogg,asf,mp3,wav,flac,"
        "aac"
    ),
    decoders=(
        "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mpeg2video,mpeg1video,mjpeg,h263,h263i,flv,"
        "msmpeg4v1,msmpeg4v2,msmpeg4,wmv1,wmv2,wmv3,vc1,theora,prores,rawvideo,png,"
        "aac,aac_latm,mp3float,mp3,mp2float,mp2,opus,libopus,vorbis,libvorbis,flac,alac,ac3,eac3,"
        "wmav1,wmav2,amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,"
        "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
        "pcm_f64le,pcm_u8,pcm_s8,pcm_mulaw,pcm_alaw,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf"
    ),
)
"""Media of others: it is decoded in a child process only."""

STORED_AUDIO = AllowedMedia(
    demuxers="flac,wav",
    decoders="flac,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_u8",
)
"""`KEY.flac` and `KEY.wav` of a shard, which may be a shard of others."""


STORED_VIDEO = AllowedMedia(demuxers="mov,mp4,m4a,3gp,3g2,mj2", decoders="libdav1d,h264")
"""`KEY.mp4` of a shard, which may be a shard of others."""

_DECODERS = {"av1": "libdav1d", "h264": "h264"}


class ForbiddenCodecError(ValueError):
    """A stream's codec is not one of the allowed codecs."""


class UnreadableAudioError(ValueError):
    """A stored audio member cannot be decoded."""


class UnreadableVideoError(ValueError):
    """A stored video member, or a part of it, cannot be decoded."""


@contextmanager
def open_foreign(source: str | bytes, hwaccel: HWAccel | None = None) -> Iterator[Any]:
    """Open a local file, or the content of one, within the limits for foreign media.

    Call it in a child process: a decoder may crash or hang.

    Args:
        source: Path of the file, or its content.
        hwaccel: The device that decodes video; None for the CPU.

    Raises:
        av.FFmpegError: The file is missing, unreadable or not media of an allowed kind.
    """
    with _open(source, FOREIGN, hwaccel) as container:
        yield container


@contextmanager
def open_stored_audio(content: bytes | memoryview) -> Iterator[tuple[Any, Any]]:
    """Open a stored FLAC or WAV member; yield the container and its audio stream.

    Raises:
        UnreadableAudioError: It is not FLAC or WAV, or decoding fails within the block.
    """
    with (
        _reported("stored audio", UnreadableAudioError),
        _open(content, STORED_AUDIO) as container,
    ):
        stream = container.streams.best("audio")
        if stream is None:
            raise UnreadableAudioError("no audio stream")
        require_allowed(stream, STORED_AUDIO)
        yield container, stream


def decode_flac(stream_info: bytes, frames: memoryview) -> list[Any]:
    """Decode the frames of a stored FLAC member without a demuxer, and compare their CRC-16.

    A demuxer looks for the end of each frame and decodes the first ones twice; the decoder needs
    neither.

    Args:
        stream_info: Content of its block STREAMINFO.
        frames: What follows its metadata.

    Raises:
        UnreadableAudioError: A frame is damaged.
    """
    with _reported("stored audio", UnreadableAudioError):
        decoder = av.CodecContext.create("flac", "r")
        decoder.options = {"threads": "1", "err_detect": "crccheck+explode"}
        decoder.thread_count = 1
        decoder.extradata = stream_info
        return list(decoder.decode(av.Packet(frames)))


@contextmanager
def open_stored_video(content: bytes | memoryview) -> Iterator[tuple[Any, Any]]:
    """Open a stored MP4 member; yield the container and its video stream.

    Raises:
        UnreadableVideoError: It is not MP4 with AV1 or H.264, or reading fails within the block.
    """
    with (
        _reported("stored video", UnreadableVideoError),
        _open(content, STORED_VIDEO) as container,
    ):
        stream = container.streams.best("video")
        if stream is None:
            raise UnreadableVideoError("no video stream")
        require_allowed(stream, STORED_VIDEO)
        yield container, stream


@contextmanager
def open_video_decoder(codec: str) -> Iterator[Any]:
    """Open a decoder for pictures of a stored MP4 member, without its header.

    It runs in the calling thread and raises at the first damage instead of repairing it.

    Args:
        codec: `av1` or `h264`.

    Raises:
        UnreadableVideoError: The codec is another one, or decoding fails within the block.
    """
    if codec not in _DECODERS:
        raise UnreadableVideoError(f"video codec {codec!r} is not one of 'av1', 'h264'")
    options = STORED_VIDEO.options("none")
    with _reported("stored video", UnreadableVideoError):
        decoder = av.CodecContext.create(_DECODERS[codec], "r")
        limits = {name: options[name] for name in _DECODER_LIMITS}
        decoder.options = limits | {"threads": "1", "err_detect": "explode"}
        decoder.thread_count = 1
        yield decoder


@contextmanager
def _reported(what: str, error_class: type[ValueError]) -> Iterator[None]:
    """Raise errors of FFmpeg as those of a stored member."""
    try:
        yield
    except (av.FFmpegError, ForbiddenCodecError, UnicodeDecodeError, LookupError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise error_class(f"{what} cannot be decoded: {reason}") from error


def require_allowed(stream: Any, allowed: AllowedMedia) -> None:
    """Raise ForbiddenCodecError unless the stream's decoder is an allowed one.

    Args:
        stream: A stream of a container that was opened here.
        allowed: The lists that it was opened with.
    """
    name = decoder_name(stream)
    if name is None or name not in allowed.decoders.split(","):
        raise ForbiddenCodecError(
            f"{stream.type} codec {name or 'unknown'!r} is not one of the allowed codecs"
        )


def decoder_name(stream: Any) -> str | None:
    """Return FFmpeg's name of the decoder of a stream; None if it has none."""
    context = stream.codec_context
    return None if context is None else str(context.codec.name)


@contextmanager
def _open(
    source: str | bytes | memoryview, allowed: AllowedMedia, hwaccel: HWAccel | None = None
) -> Iterator[Any]:
    """Open a container, with the lists set on its decoders as well.

    FFmpeg hands a container's `codec_whitelist` only to the decoders with which it probes streams;
    each decoder that PyAV opens needs the list itself.
    """
    options = allowed.options("file" if isinstance(source, str) else "none")
    with av.open(
        f"file:{source}" if isinstance(source, str) else io.BytesIO(source),
        options=options,
        metadata_errors="ignore",
        buffer_size=1 << 16,
        hwaccel=hwaccel,
    ) as container:
        if container.format.name in _DECODING_TIMES:
            container.flags &= ~Flags.gen_pts.value  # PyAV sets it
        limits = {name: options[name] for name in _DECODER_LIMITS}
        for stream in container.streams:
            if stream.codec_context is not None:
                stream.codec_context.options = limits
        yield container
