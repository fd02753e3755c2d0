"""Read pictures of a stored video (`KEY.mp4`) from one byte range, without the file's header.

A group is what is between two key frames; it decodes alone. The sidecar has the offset of each
group, so a window of pictures is one range read of whole groups.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from avstore.manifests.guarded_media import UnreadableVideoError, open_video_decoder

_START_CODE = b"\x00\x00\x00\x01"
_ACCESS_UNIT_DELIMITER = 9
# Of AV1's units (OBUs): their types, and bits of their header and of a frame's header.
_OBUS_WITH_HEADER = {3, 6}  # frame header, frame
_OBUS_OF_FRAME = {4, 7}  # tile group, redundant frame header
_HAS_EXTENSION, _HAS_SIZE = 4, 2
_SHOW_EXISTING_FRAME, _SHOW_FRAME = 128, 16
# swscale's SWS_BILINEAR, SWS_FULL_CHR_H_INT, SWS_ACCURATE_RND and SWS_BITEXACT.
_FLAGS = 2 | 0x2000 | 0x40000 | 0x80000


class GroupRange(NamedTuple):
    """Locate the groups that hold a window of pictures.

    Attributes:
        offset: Offset in the member, in bytes.
        size: Bytes of the groups together.
        first_group: Number of the first group.
    """

    offset: int
    size: int
    first_group: int


def group_range(
    gop_offsets: Sequence[int], keyframe_every: int, first: int, count: int
) -> GroupRange:
    """Return the one byte range that holds a window of pictures.

    Args:
        gop_offsets: Offset of each group, and the end of the last (`samples.gop_offsets`).
        keyframe_every: Pictures of each group but the last (`samples.gop_frames`).
        first: Number of the window's first picture, from 0.
        count: Number of pictures, at least 1.

    Raises:
        ValueError: The window is not within the video's groups.
    """
    begin, end = first // keyframe_every, (first + count - 1) // keyframe_every + 1
    if first < 0 or count < 1 or end >= len(gop_offsets):
        pictures = (len(gop_offsets) - 1) * keyframe_every
        raise ValueError(
            f"pictures [{first}, {first + count}) are not within a video of {pictures} at most"
        )
    return GroupRange(gop_offsets[begin], gop_offsets[end] - gop_offsets[begin], begin)


def group_sizes(gop_offsets: Sequence[int], found: GroupRange) -> tuple[int, ...]:
    """Return the bytes of each group of a range."""
    inside = [o for o in gop_offsets if found.offset <= o <= found.offset + found.size]
    return tuple(b - a for a, b in pairwise(inside))


def decode_groups(
    content: bytes | memoryview,
    sizes: Sequence[int],
    codec: str,
    first: int,
    count: int,
    keyframe_every: int,
) -> Iterator[av.VideoFrame]:
    """Decode a window of pictures from the bytes of whole groups.

    Args:
        content: The groups, one behind the other.
        sizes: Bytes of each group.
        codec: `av1` or `h264`.
        first: Number of the first wanted picture, counted from the first given group.
        count: Number of wanted pictures.
        keyframe_every: Pictures of each group; only the last of a video may have fewer.

    Yields:
        The wanted pictures in order, full-range BT.601, 4:2:0.

    Raises:
        UnreadableVideoError: A ValueError: the bytes are damaged, or not those of such groups.
    """
    if sum(sizes) != len(content):
        raise UnreadableVideoError(f"{len(content)} bytes are not groups of {sum(sizes)} bytes")
    view, number, end = memoryview(content), 0, first + count
    with open_video_decoder(codec) as decoder:
        for start, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
            if number >= end:
                return
            packets = _SPLITTERS[codec](view[start : start + size])
            for picture in _decoded(decoder, packets):
                if first <= number < end:
                    yield picture
                number += 1
                if number >= end:
                    return
            if len(packets) != keyframe_every:
                break  # the video's last group
    raise UnreadableVideoError(f"{number} of {end} pictures are in {len(sizes)} groups")


def rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Convert a decoded picture to RGB by the matrix and range that it declares.

    Args:
        frame: A decoded picture.

    Returns:
        uint8 [height, width, 3].
    """
    converted = VideoReformatter().reformat(frame, format="rgb24", interpolation=_FLAGS, threads=1)
    return converted.to_ndarray().astype(np.uint8, copy=False)


def _decoded(decoder: Any, packets: Sequence[bytes]) -> Iterator[av.VideoFrame]:
    """Decode a group: as many pictures as packets."""
    found = 0
    for data in (*packets, None):
        for picture in decoder.decode(None if data is None else av.Packet(data)):
            if picture.is_corrupt:
                raise UnreadableVideoError("a picture is damaged")
            found += 1
            yield picture
    if found != len(packets):
        raise UnreadableVideoError(f"{found} of {len(packets)} pictures of a group decode")
    decoder.flush_buffers()


def _h264_pictures(group: memoryview) -> list[bytes]:
    """Split a group into pictures at their delimiters, with start codes instead of lengths."""
    data, starts, at = bytearray(group), list[int](), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 1 or at + 4 + size > len(data):
            raise UnreadableVideoError("a group of H.264 pictures is damaged")
        if data[at + 4] & 31 == _ACCESS_UNIT_DELIMITER:
            starts.append(at)
        data[at : at + 4] = _START_CODE
        at += 4 + size
    return [bytes(data[a:b]) for a, b in pairwise([*starts, len(data)])]


def _av1_pictures(group: memoryview) -> list[bytes]:
    """Split a group into packets of one shown picture each: MP4 has no temporal delimiters.

    A frame is shown if its header has the bit `show_existing_frame` or `show_frame` (AV1
    specification, section 5.9.2). Tile groups and repeated headers behind it belong to it.
    """
    begins, at, shown = [0], 0, False
    while at < len(group):
        kind, start, end = _obu(group, at)
        if shown and kind not in _OBUS_OF_FRAME:
            begins.append(at)
            shown = False
        if kind in _OBUS_WITH_HEADER:
            shown = bool(group[start] & (_SHOW_EXISTING_FRAME | _SHOW_FRAME))
        at = end
    return [bytes(group[a:b]) for a, b in pairwise([*begins, len(group)])]


def _obu(data: memoryview, at: int) -> tuple[int, int, int]:
    """Return the type of the OBU at an offset, and where its payload begins and ends."""
    header, size, shift = data[at], 0, 0
    at += 2 if header & _HAS_EXTENSION else 1
    while at < len(data) and shift < 32:  # the size is LEB128
        byte, at = data[at], at + 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    if not header & _HAS_SIZE or header & 128 or size < 1 or at + size > len(data):
        raise UnreadableVideoError("a group of AV1 pictures is damaged")
    return header >> 3 & 15, at, at + size


_SPLITTERS: dict[str, Callable[[memoryview], list[bytes]]] = {
    "av1": _av1_pictures,
    "h264": _h264_pictures,
}
