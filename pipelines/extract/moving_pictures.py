"""Encode a clip's moving pictures, at instants of a constant rate."""

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.colour import Plane, Planes
from avstore.pipelines.extract.jpeg import Resizer, orientation
from avstore.pipelines.extract.projection import (
    Projector,
    check_declaration,
    check_projection,
)
from avstore.pipelines.extract.recipe_sections import VideoSettings
from avstore.pipelines.extract.records import Rejected
from avstore.pipelines.extract.stored_frames import LUMA_STEP
from avstore.pipelines.extract.video import EncodedVideo, VideoEncoder

MAX_LUMAS = 100
"""Most pictures whose luma is kept for the quality signals."""


class MovingPictures:
    """Take decoded pictures in any order, and encode them in order of time.

    Args:
        settings: The recipe's section.
        wanted: Times of the stored pictures in ticks, ascending, repeats included.
        aspect: Sample aspect ratio of the stream.
    """

    def __init__(
        self, settings: VideoSettings, wanted: Sequence[int], aspect: Fraction | None
    ) -> None:
        self._settings = settings
        self._wanted = frozenset(wanted)
        self._queue = deque((time, len(list(same))) for time, same in groupby(wanted))
        self._step = -(-len(wanted) // MAX_LUMAS)
        self._projector = Projector(settings)
        self._aspect = aspect or Fraction(1)
        self._resizer = Resizer(settings, aspect)
        self._early: dict[int, Planes] = {}
        self._lumas: list[Plane] = []
        self._encoder: VideoEncoder | None = None
        self._shape = (0, 0)
        self._added = 0

    def put(self, time: int, frame: Any) -> None:
        """Encode a decoded `av.VideoFrame` with those that waited for it, if it is wanted."""
        if time not in self._wanted:
            return
        if not self._lumas and not self._early:
            self._check_projection(frame)
        self._early[time] = self._resizer.planes(self._projector.project(frame))
        while self._queue and self._queue[0][0] in self._early:
            first, repeat = self._queue.popleft()
            self._add(self._early.pop(first), repeat)

    @property
    def is_complete(self) -> bool:
        """Whether all wanted pictures came."""
        return not self._queue

    @property
    def lumas(self) -> tuple[Plane, ...]:
        """Every fourth luma pixel of evenly spaced pictures, (height, width)."""
        return tuple(self._lumas)

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise by which the picture was turned for display."""
        return self._resizer.rotation

    def finish(self) -> EncodedVideo:
        """Return the encoded video; nothing can be put after it."""
        if self._encoder is None:
            raise ValueError("no picture was put")
        return self._encoder.finish()

    def _check_projection(self, frame: Any) -> None:
        """Raise Rejected unless a picture has the recipe's source projection, by size and file."""
        height = frame.height // (2 if self._settings.source_stereo == "top_bottom" else 1)
        size = (round(frame.width * self._aspect), height)
        width, height = size if orientation(frame)[0] % 2 == 0 else size[::-1]
        check_projection(width, height, self._settings)
        check_declaration(frame, self._settings)

    def _add(self, planes: Planes, repeat: int) -> None:
        luma = planes[0]
        if self._encoder is None:
            self._shape = luma.shape
            self._encoder = VideoEncoder(self._settings, luma.shape[1], luma.shape[0])
        if luma.shape != self._shape:
            before, after = (f"{s[1]} x {s[0]}" for s in (self._shape, luma.shape))
            detail = f"the picture's size changes within the clip, from {before} to {after}"
            raise Rejected(Verdict.UNDECODABLE, detail)
        if -self._added % self._step < repeat:
            self._lumas.append(luma[::LUMA_STEP, ::LUMA_STEP].copy())
        self._added += repeat
        self._encoder.add(planes, repeat)
