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


@dataclass(frozen=True, slots=True)
class Clip:
    """Which frames make up a clip.

    Attributes:
        frames: Number of frames.
        stride: Steps from frame to frame.
        start: Seconds at which it begins, at the frame that is on screen; None for a random place,
            or an even one in evaluation.
        number: Number of the clip, of `count` of one sample.
        count: In evaluation they are spread evenly from the start to the end; a single one is in
            the middle.
    """

    frames: int
    stride: int
    start: float | None = None
    number: int = 0
    count: int = 1

    @property
    def place(self) -> float:
        """Where the clip begins in evaluation, as a part of the free room, from 0 to 1."""
        return self.number / (self.count - 1) if self.count > 1 else 0.5


def clip_frames(
    clip: Clip, times: NDArray[np.float32], generator: np.random.Generator | None
) -> list[int]:
    """Return the indices of a clip's frames.

    Args:
        clip: The clip.
        times: Presentation time of each stored frame, in seconds.
        generator: Random generator; None for evaluation.

    Returns:
        Indices in order of time; where the sample is too short, its last frame repeats.
    """
    room = _room(clip, times)
    if clip.start is not None:
        first = _on_screen(times, clip.start)
    elif generator is None:
        first = int((room - 1) * clip.place)
    else:
        first = int(generator.integers(room))
    return _from(clip, first, len(times))


def clip_within_sound(
    clip: Clip,
    times: NDArray[np.float32],
    step: float,
    sound_seconds: float,
    generator: np.random.Generator | None,
) -> tuple[list[int], SoundWindow]:
    """Return the indices of a clip's frames, and the longer window of sound that they lie in.

    In training the sound begins at a uniformly random time, and the frames at a uniformly random
    time within it (AVSA); in evaluation the sound is at the clip's even place, and the frames are
    in its middle, as they are where `clip.start` is given.

    Args:
        clip: The clip.
        times: Presentation time of each stored frame, in seconds.
        step: Seconds from frame to frame.
        sound_seconds: Length of the window of sound.
        generator: Random generator; None for evaluation.

    Raises:
        ValueError: If the sound is shorter than the frames.
    """
    length = clip.frames * clip.stride * step
    if sound_seconds < length - step:
        raise ValueError(
            f"sound_seconds={sound_seconds} is shorter than {clip.frames} frames, which last "
            f"{length:.3g} s"
        )
    room = max(float(times[-1]) + step - sound_seconds, 0.0)
    slack = max(sound_seconds - length, 0.0)
    if clip.start is not None:
        first = _on_screen(times, clip.start)
        begin = min(max(float(times[first]) - slack / 2, 0.0), room)
    else:
        draws = (clip.place, 0.5) if generator is None else generator.random(2).tolist()
        begin = draws[0] * room
        later = int(np.searchsorted(times, np.float32(begin + draws[1] * slack - 1e-4)))
        first = min(later, _room(clip, times) - 1)
        # Frames are at the times of pictures: the sound follows, so that they do not end after it.
        begin = max(begin, min(float(times[first]) + length - sound_seconds, room))
    return _from(clip, first, len(times)), SoundWindow(begin, sound_seconds)


def _room(clip: Clip, times: NDArray[np.float32]) -> int:
    """Return the number of places where a clip can begin, at least 1."""
    return max(len(times) - (clip.frames - 1) * clip.stride, 1)


def _on_screen(times: NDArray[np.float32], second: float) -> int:
    """Return the index of the frame that is on screen at a time."""
    return max(int(np.searchsorted(times, np.float32(second) + 1e-4, "right")) - 1, 0)


def _from(clip: Clip, first: int, stored: int) -> list[int]:
    return [min(first + k * clip.stride, stored - 1) for k in range(clip.frames)]


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
    step: float,
    offset: float = 0.0,
) -> SoundWindow:
    """Return the sound of chosen frames: as long as they are shown, from the first one on.

    It may end after the clip; what is missing there is padding.

    Args:
        chosen: Indices of the frames.
        stride: Steps from frame to frame.
        times: Presentation time of each stored frame, in seconds.
        step: Seconds from frame to frame.
        offset: Seconds by which the sound is later than the frames; less at the clip's ends.
    """
    length, begin = len(chosen) * stride * step, float(times[chosen[0]])
    latest = max(float(times[-1]) + step - length, begin)
    return SoundWindow(min(max(begin + offset, 0.0), latest), length)
