"""Find, check and decode the groups of a stored video that hold wanted pictures."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.video_groups import (
    GroupRange,
    decode_groups,
    group_range,
    group_sizes,
    rgb,
)
from avstore.manifests.video_record import StoredVideo


@dataclass(frozen=True, slots=True)
class Window:
    """Wanted pictures of consecutive groups: one range read.

    Attributes:
        range: The groups' bytes in the member.
        pictures: Numbers of the wanted pictures, in order, each once.
    """

    range: GroupRange
    pictures: tuple[int, ...]


def windows(video: StoredVideo, pictures: Iterable[int]) -> tuple[Window, ...]:
    """Return the windows that hold some pictures, in order of time.

    Groups without a wanted picture are not read.

    Args:
        video: The video.
        pictures: Numbers of pictures, in any order.

    Raises:
        ValueError: One of them is not in the video.
    """
    wanted = sorted(set(pictures))
    if wanted and not 0 <= wanted[0] <= wanted[-1] < video.frames:
        raise ValueError(f"pictures {wanted[0]} to {wanted[-1]} are not in [0, {video.frames})")
    runs: list[list[int]] = []
    for number in wanted:
        group = number // video.gop_frames
        if runs and group - runs[-1][-1] // video.gop_frames <= 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return tuple(
        Window(
            group_range(video.gop_offsets, video.gop_frames, run[0], run[-1] - run[0] + 1),
            tuple(run),
        )
        for run in runs
    )


def decode_window(
    content: memoryview, video: StoredVideo, window: Window
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the wanted pictures of a window in order: their numbers, and RGB [height, width, 3].

    Args:
        content: The bytes of `window.range`.
        video: The video.
        window: The window.

    Raises:
        ValueError: The bytes are not those of the groups, or cannot be decoded.
    """
    sizes = group_sizes(video.gop_offsets, window.range)
    first_group, every = window.range.first_group, video.gop_frames
    _check(content, sizes, video.gop_crc32[first_group : first_group + len(sizes)], first_group)
    first, last, wanted = window.pictures[0], window.pictures[-1], set(window.pictures)
    frames = decode_groups(
        content, sizes, video.codec, first - first_group * every, last - first + 1, every
    )
    for number, frame in enumerate(frames, start=first):
        if number in wanted:
            yield number, rgb(frame)


def _check(content: memoryview, sizes: Sequence[int], checksums: Sequence[int], first: int) -> None:
    """Raise ValueError for a group with another CRC-32: codecs do not notice all damage."""
    starts = accumulate(sizes, initial=0)
    for number, (start, size, crc32) in enumerate(
        zip(starts, sizes, checksums, strict=False), start=first
    ):
        if zlib.crc32(content[start : start + size]) != crc32:
            raise ValueError(f"group {number} of its pictures has other CRC-32")
