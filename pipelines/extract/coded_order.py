"""Recognise streams whose times are those of coded pictures, not of shown ones."""

from collections.abc import Iterator, Sequence
from typing import Any

_VOP = b"\x00\x00\x01\xb6"  # a picture of MPEG-4 (ISO/IEC 14496-2, 6.2.5); 2 bits of type follow
_B = 2


def mark_coded_order(stream: Any, packets: Sequence[Any]) -> bool:
    """Return whether the times of a video are in coded order, and give each packet its time.

    They are where the container has decoding times only (AVI), and in MPEG-4 where a B picture
    has a later time than the picture that it is shown before, or is packed with it in one packet
    (the packed bitstream of DivX and XviD).

    Args:
        stream: The video stream, read without FFmpeg's option `genpts`, which invents times.
        packets: Its packets in stream order.
    """
    if any(p.pts is None for p in packets):
        if not all(p.dts is not None and p.pts in (None, p.dts) for p in packets):
            return False
        for packet in packets:
            packet.pts = packet.dts
        return True
    return stream.codec_context.name == "mpeg4" and _has_late_b(packets)


def _has_late_b(packets: Sequence[Any]) -> bool:
    """Return whether a B picture comes in the packet, or at the time, of no B picture."""
    reference = None
    for packet in packets:
        types = list(_picture_types(bytes(packet)))
        if len(types) > 1:
            return True
        if types != [_B]:
            reference = packet.pts
        elif reference is not None and packet.pts > reference:
            return True
    return False


def _picture_types(data: bytes) -> Iterator[int]:
    at = 0
    while (at := data.find(_VOP, at)) >= 0 and at + 4 < len(data):
        yield data[at + 4] >> 6
        at += 4
