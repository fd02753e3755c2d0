"""Describe a clip's stored video."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """Describe the member `mp4`; fields are columns of table `samples`.

    Attributes:
        frames: Number of pictures.
        rate: Pictures per second; the first is at 0.
        gop_frames: Pictures of each group but the last, which may have fewer.
        gop_offsets: Offset in the member of each group's first byte, and the last group's end.
        gop_crc32: CRC-32 of each group's bytes.
        codec: `av1` or `h264`.
    """

    frames: int
    rate: float
    gop_frames: int
    gop_offsets: Sequence[int]
    gop_crc32: Sequence[int]
    codec: str
