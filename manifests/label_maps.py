"""Pack the label maps of a clip into one small array, and read them back one by one.

A feature of label maps is stored as uint8 [n]: a header (magic, number of maps, height, width, maps
a second), the packed size of each map, and the maps, each deflated by itself, so that a reader of
one map inflates only that one. A size of 0 is a map that is missing.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
"""The label of pixels without one."""

MAX_PIXELS = 1 << 25
"""Most pixels of a map: 8192 x 4096."""

_HEADER = struct.Struct("<4sHHHf")
_MAGIC = b"LMP1"
_LEVEL = 6  # 9 is a tenth smaller and takes ten times as long
# Times are those of frames, in float32: one that is this near to the next map's is of that map.
_TIME_TOLERANCE = 1e-3


def pack_maps(maps: Sequence[NDArray[np.uint8] | None], rate: float) -> NDArray[np.uint8]:
    """Pack the maps of a clip.

    Args:
        maps: uint8 [height, width] each, in order of time from the clip's start; None for a map
            that is missing.
        rate: Maps a second.

    Returns:
        uint8 [n].

    Raises:
        ValueError: There is no map, they differ in size, or one is too large.
    """
    shapes = {each.shape for each in maps if each is not None}
    if len(shapes) != 1:
        raise ValueError(f"maps of one size are expected, not of {sorted(shapes) or 'none'}")
    ((height, width),) = shapes
    if not 0 < height * width <= MAX_PIXELS or max(height, width, len(maps)) >= 1 << 16:
        raise ValueError(f"{len(maps)} maps of {width} x {height} are too many or too large")
    packed = [
        b"" if each is None else zlib.compress(np.ascontiguousarray(each).tobytes(), _LEVEL)
        for each in maps
    ]
    sizes = np.array([len(each) for each in packed], "<u4").tobytes()
    header = _HEADER.pack(_MAGIC, len(maps), height, width, rate)
    return np.frombuffer(b"".join((header, sizes, *packed)), np.uint8)


@dataclass(frozen=True)
class LabelMaps:
    """The packed maps of a clip.

    Attributes:
        rate: Maps a second.
        height: Their height, in pixels.
        width: Their width.
        ends: Where each one ends in `content`; it starts where the one before it ends.
        content: The deflated maps, one after the other.
    """

    rate: float
    height: int
    width: int
    ends: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, packed: NDArray[np.uint8]) -> "LabelMaps":
        """Return the maps of an array of `pack_maps`.

        Raises:
            ValueError: The array is another one, or damaged.
        """
        content = np.ascontiguousarray(packed).tobytes()
        if packed.dtype != np.uint8 or len(content) < _HEADER.size or content[:4] != _MAGIC:
            raise ValueError("it holds no packed label maps")
        _, count, height, width, rate = _HEADER.unpack_from(content)
        start = _HEADER.size + 4 * count
        if len(content) < start or not (0 < rate < math.inf and 0 < height * width <= MAX_PIXELS):
            raise ValueError("the header of the packed label maps is damaged")
        ends = np.frombuffer(content, "<u4", count, _HEADER.size).astype(np.int64).cumsum()
        if int(ends[-1] if count else 0) != len(content) - start:
            raise ValueError("the packed label maps are shorter or longer than their header says")
        return cls(rate, height, width, tuple(ends.tolist()), content[start:])

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def missing(self) -> list[int]:
        """Numbers of the maps that are missing."""
        return [number for number in range(len(self)) if not self._size(number)]

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return a map, uint8 [height, width].

        Raises:
            ValueError: It is missing or damaged.
        """
        end = self.ends[number]
        pixels = self.height * self.width
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(self.content[end - self._size(number) : end], pixels + 1)
        except zlib.error as error:
            raise ValueError(f"label map {number} is damaged: {error}") from error
        if len(found) != pixels or not stream.eof:
            raise ValueError(f"label map {number} is missing or damaged: {len(found)} pixels")
        return np.frombuffer(found, np.uint8).reshape(self.height, self.width)

    def at(self, seconds: float) -> NDArray[np.uint8]:
        """Return the map of a time, or the nearest one before it, uint8 [height, width].

        Without one, all pixels are `IGNORED`.

        Args:
            seconds: Time from the clip's start.

        Raises:
            ValueError: The map is damaged.
        """
        latest = math.floor(seconds * self.rate + _TIME_TOLERANCE)
        for number in range(min(latest, len(self) - 1), -1, -1):
            if self._size(number):
                return self.read(number)
        return np.full((self.height, self.width), IGNORED, np.uint8)

    def _size(self, number: int) -> int:
        return self.ends[number] - (self.ends[number - 1] if number else 0)
