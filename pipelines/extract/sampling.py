"""Which frames a recipe wants: instants on the clip's clock, and the frame shown at each.

Pure functions of numbers. Seconds are exact fractions, presentation times whole ticks of a
stream's time base.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

from avstore.pipelines.extract.recipe import Frames


def exact(seconds: float) -> Fraction:
    """A decimal number of seconds as the fraction that was meant (to a microsecond)."""
    return Fraction(seconds).limit_denominator(1_000_000)


def instants(frames: Frames, duration: Fraction) -> list[Fraction]:
    """The instants that a recipe wants of a clip, in seconds from the clip's start.

    `count`: i * duration / N for i in 0..N-1. `rate`: i / R while before the end.
    """
    if frames.sampling == "count":
        count = frames.count or 1
        return [i * duration / count for i in range(count)]
    if frames.sampling == "rate":
        rate = exact(frames.rate or 1.0)
        return [i / rate for i in range(ceil(duration * rate))]
    return [exact(t) for t in frames.times if t < duration]


def shown_at(times: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Index of the frame on screen at each wanted tick: the last that starts no later.

    times: presentation times, ascending. Before the first frame it is the first.
    """
    return [max(bisect_right(times, tick) - 1, 0) for tick in wanted]


def strict(
    frames: Frames, times: Sequence[int], origin: Fraction, duration: Fraction, base: Fraction
) -> list[int]:
    """Index of the frame on screen at each instant that a recipe wants.

    times: presentation times in ticks of `base` seconds. origin: the clip's start, seconds.
    """
    wanted = [floor((origin + t) / base) for t in instants(frames, duration)]
    return shown_at(times, wanted)


def published(
    frames: Frames, times: Sequence[int], origin: Fraction, duration: Fraction, base: Fraction
) -> list[int]:
    """Index of the frame that the released scripts take, arguments as for `strict`.

    count: of the n frames in the clip, frame int(i * n / N) is sought one too low (STELLA's
    extract_video_frame). rate: FFmpeg's fps filter rounds each frame's time to the nearest
    output slot, so the frame is taken that is on screen just before half a slot later.
    """
    wanted = instants(frames, duration)
    if frames.sampling == "count":
        before = sum(t < origin / base for t in times)
        total = len(times) - before
        picked = [max(i * total // len(wanted) - 1, 0) for i in range(len(wanted))]
        return [min(before + i, len(times) - 1) for i in picked]
    if frames.sampling == "rate":
        half = 1 / exact(frames.rate or 1.0) / 2
        return shown_at(times, [ceil((origin + t + half) / base) - 1 for t in wanted])
    return strict(frames, times, origin, duration, base)
