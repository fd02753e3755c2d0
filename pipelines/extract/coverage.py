"""Measure which of a clip's seconds a stream covers, and where it has nothing.

All functions are pure. Spans are half-open, (start, end) in seconds from the clip's start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

MAX_PICTURE_S = 1.0
"""Seconds. A picture that stays longer is followed by a hole, unless most pictures stay so long."""

USUAL_STEPS = 10
"""A picture may stay this many times as long as the median picture."""

_SHORT_S = 0.1
_TOLERANCE_S = 1e-6

Span = tuple[float, float]


@dataclass(frozen=True)
class Coverage:
    """Say how much of a clip a stream covers.

    Attributes:
        seconds: Covered seconds.
        duration: Wanted seconds.
        gap: The longest stretch without the stream; empty, (0, 0), if all is covered.
    """

    seconds: float
    duration: float
    gap: Span

    @property
    def fraction(self) -> float:
        """Covered share of the wanted seconds, in [0, 1]."""
        return self.seconds / self.duration

    @property
    def gap_s(self) -> float:
        """Length of the longest stretch without the stream, in seconds."""
        return self.gap[1] - self.gap[0]

    @property
    def ends_early(self) -> bool:
        """Whether what is missing is at the end, but for less than a picture or so elsewhere."""
        elsewhere = self.duration - self.seconds - self.gap_s
        return self.gap[1] == self.duration and elsewhere < _SHORT_S

    def is_below(self, fraction: float) -> bool:
        """Return whether less than a share of the wanted seconds is covered."""
        return self.seconds < fraction * self.duration - _TOLERANCE_S


def coverage(spans: Iterable[Span], duration: float) -> Coverage:
    """Return how much of [0, duration) the spans cover; where they overlap, once."""
    at, missing, gap = 0.0, 0.0, (0.0, 0.0)
    for start, end in (*sorted(spans), (duration, duration)):
        hole = (at, min(start, duration))
        length = hole[1] - hole[0]
        if length > _TOLERANCE_S:
            missing += length
            gap = max(gap, hole, key=lambda span: span[1] - span[0])
        at = max(at, end)
    return Coverage(duration - missing, duration, gap)


def join_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Join spans that touch or overlap; return them in order."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1] + _TOLERANCE_S:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)


def picture_spans(times: Sequence[float], end: float) -> tuple[Span, ...]:
    """Return the spans in which pictures follow each other without a hole.

    No container says reliably how long a picture is meant to stay (MP4 stretches the one before a
    hole), so a hole is a step that is far longer than the others. The last picture before a hole
    stays for a median step.

    Args:
        times: Presentation times of all pictures, ascending.
        end: End of the last picture.
    """
    steps = [b - a for a, b in pairwise(times)]
    usual = median(steps) if steps else 0.0
    longest = max(MAX_PICTURE_S, USUAL_STEPS * usual)
    holes = [i for i, step in enumerate(steps) if step > longest]
    starts = [times[0], *(times[i + 1] for i in holes)]
    ends = [*(times[i] + usual for i in holes), end]
    return tuple(zip(starts, ends, strict=True))
