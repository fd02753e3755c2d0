"""Which packets need not be decoded at all: whole groups of pictures that nothing wanted is in.

(Single pictures that no other refers to are left out by the decoder itself, see `video`.)
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Any

_RESTARTING = {"h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4"}
_H264_IDR = 5


def needed(context: Any, packets: Sequence[Any], wanted: Collection[int]) -> list[Any]:
    """The packets, in order, without those at the end of each closed group of pictures that come
    after its last wanted one. Presentation times must be known and distinct.
    """
    cuts = _closed_starts(context, packets)
    kept: list[Any] = []
    for start, end in zip(cuts, [*cuts[1:], len(packets)], strict=True):
        group = packets[start:end]
        last = max((i for i, p in enumerate(group) if p.pts in wanted), default=-1)
        kept += group[: last + 1]
    return kept


def _closed_starts(context: Any, packets: Sequence[Any]) -> list[int]:
    """0, and where a keyframe begins afresh: all before it is shown before it, all after it
    after it, and (H.264) it is an IDR picture and not just a point to recover at.
    """
    if context.name not in _RESTARTING:
        return [0]
    times = [p.pts for p in packets]
    before = [*accumulate(times, max)]
    after = [*accumulate(reversed(times), min)][::-1]
    extradata = context.extradata or b""
    return [0] + [
        i
        for i in range(1, len(packets))
        if packets[i].is_keyframe
        and before[i - 1] < times[i] <= after[i]
        and (context.name != "h264" or _H264_IDR in nal_types(bytes(packets[i]), extradata))
    ]


def nal_types(data: bytes, extradata: bytes) -> Iterator[int]:
    """Types of the NAL units of an H.264 packet, as in MP4 (lengths) or in a byte stream."""
    at = 0
    if extradata[:1] == b"\x01" and len(extradata) > 4:  # avcC (ISO/IEC 14496-15, 5.3.3.1)
        prefix = (extradata[4] & 3) + 1
        while at + prefix < len(data):
            yield data[at + prefix] & 31
            at += prefix + int.from_bytes(data[at : at + prefix], "big")
        return
    while (at := data.find(b"\x00\x00\x01", at)) >= 0 and at + 3 < len(data):
        yield data[at + 3] & 31
        at += 3
