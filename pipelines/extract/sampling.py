"""Select the frames that a recipe wants: instants on the clip's clock, and the frame at each.

All functions are pure. Seconds are exact fractions; presentation times are whole ticks of a
stream's time base.
"""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

from avstore.pipelines.extract.recipe_sections import FrameSettings, VideoSettings


def exact_seconds(seconds: float) -> Fraction:
    """Return a decimal number of seconds as an exact fraction, to a microsecond."""
    return Fraction(seconds).limit_denominator(1_000_000)


def sample_instants(frames: FrameSettings, duration: Fraction) -> list[Fraction]:
    """Return the instants that a recipe wants of a clip, in seconds from the clip's start.

    `sampling = "count"`: i * duration / N for i in 0..N-1. `"rate"`: i / R while before the end.
    `"times"`: the listed instants that are before the end.
    """
    if frames.sampling == "count":
        count = frames.count or 1
        return [i * duration / count for i in range(count)]
    if frames.sampling == "rate":
        rate = exact_seconds(frames.rate or 1.0)
        return [i / rate for i in range(ceil(duration * rate))]
    return [exact_seconds(t) for t in frames.times if t < duration]


def indices_on_screen(times: Sequence[int], instants: Sequence[int]) -> list[int]:
    """Return the index of the frame on screen at each instant: the last that starts no later.

    Before the first frame it is the first.

    Args:
        times: Presentation times in ticks, ascending.
        instants: Wanted instants in ticks.
    """
    return [max(bisect_right(times, tick) - 1, 0) for tick in instants]


def video_instants(video: VideoSettings, duration: Fraction) -> list[Fraction]:
    """Return the instants of the stored moving pictures, in seconds from the clip's start."""
    return [i / video.exact_rate for i in range(max(ceil(duration * video.exact_rate), 1))]


def strict_indices(
    instants: Sequence[Fraction], times: Sequence[int], origin: Fraction, base: Fraction
) -> list[int]:
    """Return the index of the frame on screen at each instant of a clip.

    Args:
        instants: Seconds from the clip's start.
        times: Presentation times in ticks, ascending.
        origin: Start of the clip on the container's clock, in seconds.
        base: Seconds per tick.
    """
    return indices_on_screen(times, [floor((origin + t) / base) for t in instants])
