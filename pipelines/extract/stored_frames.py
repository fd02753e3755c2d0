"""Encode a clip's frames as JPEG."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from avstore.pipelines.extract.colour import Plane
from avstore.pipelines.extract.jpeg import Resizer, encode_jpeg
from avstore.pipelines.extract.recipe_sections import FrameSettings

LUMA_STEP = 4
"""Quality signals use every fourth luma pixel in each direction."""


class StoredFrames:
    """Take decoded pictures in any order, and give the stored frames.

    Args:
        settings: The recipe's section.
        wanted: Times of the frames in ticks, in order, repeats included.
        aspect: Sample aspect ratio of the stream.
    """

    def __init__(
        self, settings: FrameSettings, wanted: Sequence[int], aspect: Fraction | None
    ) -> None:
        self._quality = settings.quality
        self._order = wanted
        self._wanted = frozenset(wanted)
        self._resizer = Resizer(settings, aspect)
        self._jpegs: dict[int, bytes] = {}
        self._lumas: dict[int, Plane] = {}

    def put(self, time: int, frame: Any) -> None:
        """Encode a decoded `av.VideoFrame`, if it is wanted."""
        if time in self._wanted:
            planes = self._resizer.planes(frame)
            self._lumas[time] = planes[0][::LUMA_STEP, ::LUMA_STEP].copy()
            self._jpegs[time] = encode_jpeg(planes, self._quality)

    @property
    def is_complete(self) -> bool:
        """Whether all wanted pictures came."""
        return len(self._jpegs) == len(self._wanted)

    @property
    def jpegs(self) -> tuple[bytes, ...]:
        """One JPEG per frame."""
        return tuple(self._jpegs[time] for time in self._order)

    @property
    def lumas(self) -> tuple[Plane, ...]:
        """Every fourth luma pixel of each frame, (height, width)."""
        return tuple(self._lumas[time] for time in self._order)

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise by which the picture was turned for display."""
        return self._resizer.rotation
