"""Which frames a recipe wants: instants on the clip's clock, and the frame shown at each.

Pure functions of numbers; times are exact fractions of a second.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from pipelines.recipe import Frames


def exact(seconds: float) -> Fraction:
    """A decimal number of seconds as the fraction that was meant (to a microsecond)."""
    return Fraction(seconds).limit_denominator(1_000_000)


def instants(frames: Frames, duration_s: float) -> list[Fraction]:
    """The instants that a recipe wants of a clip, in seconds from the clip's start.

    `count`: i * duration / N for i in 0..N-1. `rate`: i / R while before the end.
    """
    duration = exact(duration_s)
    if frames.sampling == "count":
        count = frames.count or 1
        return [i * duration / count for i in range(count)]
    if frames.sampling == "rate":
        rate = exact(frames.rate or 1.0)
        return [i / rate for i in range(ceil(duration * rate))]
    return [exact(t) for t in frames.times if t < duration]


def shown_at(times: Sequence[Fraction], wanted: Sequence[Fraction]) -> list[int]:
    """Index of the frame on screen at each wanted instant: the last that starts no later.

    times: presentation times, ascending. Before the first frame it is the first.
    """
    return [max(bisect_right(times, instant) - 1, 0) for instant in wanted]


def published(
    frames: Frames, times: Sequence[Fraction], wanted: Sequence[Fraction], total: int
) -> list[int]:
    """Index of the frame that the released scripts take for each wanted instant.

    count: with `total` = min(container's frame count, int(fps * 10)), frame int(i * total / N)
    is sought one too low (STELLA's extract_video_frame). rate: FFmpeg's fps filter rounds
    each frame's time to the nearest output slot, so the frame shown half a slot later is taken.
    """
    last = len(times) - 1
    if frames.sampling == "count":
        count = len(wanted)
        return [min(max(i * total // count - 1, 0), last) for i in range(count)]
    if frames.sampling == "rate":
        half = 1 / exact(frames.rate or 1.0) / 2
        # A frame exactly half a slot later is rounded away from zero, into the next slot.
        return [max(bisect_right(times, t + half - Fraction(1, 10**9)) - 1, 0) for t in wanted]
    return shown_at(times, wanted)
