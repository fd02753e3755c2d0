"""Choose consecutive frames and the sound of the same seconds; mark frames that a clip lacks.

All functions are pure. Times are seconds from the start of the stored clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

FBANK_RATE = 100
"""Fbank frames per second."""


@dataclass(frozen=True, slots=True)
class SoundWindow:
    """The seconds of sound that belong to chosen frames: [start, start + seconds).

    Attributes:
        start: Start in seconds.
        seconds: Length.
    """

    start: float
    seconds: float

    def length(self, rate: float) -> int:
        """Return the number of values at `rate` values a second, at least 1."""
        return max(round(self.seconds * rate), 1)

    def cut(self, values: NDArray[_T], rate: float, axis: int) -> NDArray[_T]:
        """Return the window of an array with `rate` values a second along an axis."""
        first = round(self.start * rate)
        index = [slice(None)] * values.ndim
        index[axis] = slice(first, first + self.length(rate))
        return values[tuple(index)]


def clip_frames(
    stored: int,
    frames: int,
    stride: int,
    times: NDArray[np.float32],
    start: float | None,
    generator: np.random.Generator | None,
) -> list[int]:
    """Return the indices of `frames` frames, `stride` apart.

    Args:
        stored: Number of stored frames.
        frames: Number of frames to take.
        stride: Steps from frame to frame.
        times: Presentation time of each stored frame, in seconds.
        start: Seconds at which to begin, at the frame that is on screen; None for a random place,
            or the middle without a generator.
        generator: Random generator; None for evaluation.

    Returns:
        Indices in order of time; where the clip is too short, its last frame repeats.
    """
    room = max(stored - (frames - 1) * stride, 1)
    if start is not None:
        first = max(int(np.searchsorted(times, np.float32(start) + 1e-4, "right")) - 1, 0)
    else:
        first = (room - 1) // 2 if generator is None else int(generator.integers(room))
    return [min(first + k * stride, stored - 1) for k in range(frames)]


def valid_frames(
    chosen: Sequence[int], times: NDArray[np.float32], wanted: Sequence[float] = ()
) -> list[bool]:
    """Return for each chosen frame whether the clip has it.

    It has not if the frame repeats one that was chosen before it, or is farther from its wanted
    time than any two neighbouring frames are apart.

    Args:
        chosen: Indices of the frames.
        times: Presentation time of each stored frame, in seconds.
        wanted: Wanted time of each chosen frame, for frame_choice='times'.
    """
    seen = set[int]()
    valid = []
    for index in chosen:
        valid.append(index not in seen)
        seen.add(index)
    if wanted:
        step = float(np.diff(times).max(initial=0.0))
        gaps = np.abs(times[list(chosen)] - np.asarray(wanted, np.float32))
        valid = [one and bool(gap <= step) for one, gap in zip(valid, gaps, strict=True)]
    return valid


def sound_of(
    chosen: Sequence[int],
    stride: int,
    times: NDArray[np.float32],
    seconds: float,
    offset: float = 0.0,
) -> SoundWindow:
    """Return the sound of chosen frames: as long as they are shown, within the clip.

    Args:
        chosen: Indices of the frames.
        stride: Steps from frame to frame.
        times: Presentation time of each stored frame, in seconds.
        seconds: Seconds that all frames span, where they are too few to tell.
        offset: Seconds by which the sound is later than the frames; less at the clip's ends.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else seconds / max(len(times), 1)
    length = round(len(chosen) * stride * step, 4)
    last = max(float(times[-1]) + step - length, 0.0)
    return SoundWindow(min(max(float(times[chosen[0]]) + offset, 0.0), last), length)
