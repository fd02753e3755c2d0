"""Encode pictures as a video in MP4 whose groups of pictures can be read and decoded alone.

The bytes depend on the pictures, the settings and the encoder's version only: one thread, constant
quality, a key frame every so many pictures and nowhere else, no dates or names of programs.
"""

import io
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from avstore.manifests.guarded_media import open_stored_video
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.colour import Planes
from avstore.pipelines.extract.recipe_sections import MAX_VIDEO_PIXELS, VideoSettings
from avstore.pipelines.extract.records import Rejected

SVT_PRESET = 8
"""SVT-AV1's preset. Preset 10 saves a quarter of the CPU time, but misses sharp changes.

In pictures of blocks that turn on and off, it leaves whole blocks as they were before.
"""

X264_PRESET = "medium"
"""x264's preset, its default."""

MIN_SIDE = 4
"""Smallest side that SVT-AV1 takes, in pixels."""

MAX_SIDE = 16384
"""Largest side that SVT-AV1 takes, in pixels."""

_BITEXACT = 1 << 23  # AV_CODEC_FLAG_BITEXACT
_BT601, _FULL_RANGE = 5, 2
_FREE_BOX = 8  # bytes of the smallest box that FFmpeg writes behind a reserved header

# Read by SVT-AV1 when it opens: only fatal errors are printed. FFmpeg reports all others.
os.environ.setdefault("SVT_LOG", "0")


@dataclass(frozen=True)
class EncodedVideo:
    """Hold an encoded video.

    Attributes:
        content: The MP4 file.
        gop_offsets: Offset in `content` of each group's first byte, and the end of the last: group
            k is `content[gop_offsets[k] : gop_offsets[k + 1]]`.
        pictures: Number of pictures.
    """

    content: bytes
    gop_offsets: tuple[int, ...]
    pictures: int

    @property
    def gop_crc32(self) -> tuple[int, ...]:
        """CRC-32 of each group's bytes."""
        return tuple(zlib.crc32(self.content[a:b]) for a, b in pairwise(self.gop_offsets))


class VideoEncoder:
    """Encode the pictures of one clip."""

    def __init__(self, settings: VideoSettings, width: int, height: int) -> None:
        """Open the encoder.

        Args:
            settings: The recipe's video settings.
            width: Width of the pictures in pixels, even.
            height: Height of the pictures in pixels, even.

        Raises:
            Rejected: The codec cannot encode pictures of this size.
        """
        if not _encodable(width, height):
            limits = f"sides of {MIN_SIDE} to {MAX_SIDE} pixels, {MAX_VIDEO_PIXELS} pixels in all"
            detail = f"video of {width} x {height} pixels (limit: {limits})"
            raise Rejected(Verdict.UNDECODABLE, detail, by_policy=True)
        self._codec = settings.codec
        self._every = settings.keyframe_every
        self._pictures = 0
        self._draft = io.BytesIO()
        self._container = _mp4(self._draft)
        self._stream = _add_stream(self._container, settings, width, height)
        self._container.start_encoding()
        # Removes x264's SEI messages: a text with its version and options.
        filters = {"h264": "filter_units=remove_types=6", "av1": "null"}[settings.codec]
        self._filter = BitStreamFilterContext(filters, self._stream)

    def add(self, planes: Planes, repeat: int = 1) -> None:
        """Add a picture.

        Args:
            planes: uint8 planes Y, Cb, Cr in full-range BT.601, 4:2:0, of the encoder's size.
            repeat: For how many consecutive instants the picture is shown.
        """
        frame = _frame(planes)
        for _ in range(repeat):
            frame.pts = self._pictures
            self._write(self._stream.encode(frame))
            self._pictures += 1

    def finish(self) -> EncodedVideo:
        """Close the encoder and return the video.

        Raises:
            ValueError: No picture was added.
        """
        if not self._pictures:
            raise ValueError("a video needs at least one picture")
        self._write(self._stream.encode(None))
        self._container.close()
        content = _with_header_first(self._draft.getvalue())
        with open_stored_video(content) as (container, stream):
            packets = _packets(container, stream)
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        if len(packets) != self._pictures or keys != [*range(0, self._pictures, self._every)]:
            found = f"{len(packets)} of {self._pictures} pictures, key frames at {keys}"
            raise RuntimeError(f"{self._codec}: {found}, expected one every {self._every} pictures")
        offsets = (*(packets[i].pos for i in keys), _end(packets))
        return EncodedVideo(content, offsets, self._pictures)

    def _write(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            for filtered in self._filter.filter(packet):
                filtered.stream = self._stream
                self._container.mux(filtered)


def _encodable(width: int, height: int) -> bool:
    short, long = sorted((width, height))
    return short >= MIN_SIDE and long <= MAX_SIDE and width * height <= MAX_VIDEO_PIXELS


def _mp4(buffer: io.BytesIO, header_bytes: int = 0) -> Any:
    """Open an MP4 file for writing. header_bytes: space for the header at the beginning."""
    reserved = {"moov_size": str(header_bytes)} if header_bytes else {}
    return av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact", **reserved})


def _add_stream(container: Any, settings: VideoSettings, width: int, height: int) -> Any:
    """Add a video stream with an encoder of a recipe's settings."""
    encoder, options = _encoder(settings)
    rate = settings.exact_rate
    stream = container.add_stream(encoder, rate=rate, options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = 1 / rate
    context.sample_aspect_ratio = Fraction(1)
    context.colorspace, context.color_range = _BT601, _FULL_RANGE
    context.gop_size = settings.keyframe_every
    context.thread_count = 1
    context.flags |= _BITEXACT
    return stream


def _encoder(settings: VideoSettings) -> tuple[str, dict[str, str]]:
    """Return FFmpeg's name of the encoder of a recipe, and its options."""
    quality = {"crf": str(settings.crf)}
    if settings.codec == "av1":
        # lp: one level of parallelism; scd: no key frames at scene changes.
        return "libsvtav1", quality | {"preset": str(SVT_PRESET), "svtav1-params": "lp=1:scd=0"}
    parameters = {
        "keyint": settings.keyframe_every,
        "min-keyint": settings.keyframe_every,
        "scenecut": 0,
        "open-gop": 0,
        "repeat-headers": 1,  # parameter sets in each group, which is decoded without the header
        "aud": 1,  # delimiters, by which a group is split into pictures
        "cpu-independent": 1,
    }
    joined = ":".join(f"{name}={value}" for name, value in parameters.items())
    return "libx264", quality | {"preset": X264_PRESET, "x264-params": joined, "threads": "1"}


def _frame(planes: Planes) -> av.VideoFrame:
    """Return planes of even sides as a frame."""
    height, width = planes[0].shape
    joined = np.concatenate([plane.ravel() for plane in planes])
    frame = av.VideoFrame.from_ndarray(joined.reshape(height * 3 // 2, width), format="yuv420p")
    frame.colorspace, frame.color_range = _BT601, _FULL_RANGE
    return frame


def _with_header_first(draft: bytes) -> bytes:
    """Return an MP4 file, whose header is its last box, with the header before the pictures."""
    buffer = io.BytesIO()
    with open_stored_video(draft) as (source, stream):
        packets = _packets(source, stream)
        with _mp4(buffer, len(draft) - _end(packets) + _FREE_BOX) as container:
            copy = container.add_stream_from_template(stream, opaque=True)
            for packet in packets:
                packet.stream = copy
                container.mux(packet)
    return buffer.getvalue()


def _packets(container: Any, stream: Any) -> list[Any]:
    """Return the coded pictures of a file, in the order of the file."""
    return [packet for packet in container.demux(stream) if packet.size]


def _end(packets: Sequence[Any]) -> int:
    """Return the offset of the byte behind the last packet."""
    return int(packets[-1].pos + packets[-1].size)
