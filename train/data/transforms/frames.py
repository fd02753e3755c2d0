"""Which of a clip's stored frames are taken."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.spec import FrameChoice


def choose_frames(
    choice: FrameChoice,
    stored: int,
    frames: int,
    seconds: float,
    generator: np.random.Generator | None,
    times: NDArray[np.float32] | None = None,
    wanted: Sequence[float] = (),
) -> list[int]:
    """Indices of the frames to take, in order of time.

    stored: how many there are, evenly over `seconds`. generator: None for evaluation.
    times: presentation time of each stored frame, for choice 'times'; wanted: seconds.
    Raises ValueError where no frame is stored.
    """
    if stored < 1:
        raise ValueError("the clip has no frames")
    if choice in ("window", "middle"):
        return window_frames(stored, frames, seconds, generator if choice == "window" else None)
    if choice == "random":
        return random_frames(stored, frames, generator)
    if choice == "segment":
        return segment_frames(stored, frames, generator)
    if choice == "even":
        return segment_frames(stored, frames, None)
    if choice == "times":
        return nearest_frames(times, stored, seconds, wanted)
    return list(range(stored))


def window_frames(
    stored: int, frames: int, seconds: float, generator: np.random.Generator | None
) -> list[int]:
    """`frames` indices one second apart (STELLA, spec 2.2), from a random start.

    generator: None takes the middle window, from seconds / 2 - frames // 2: of 80 frames over
    10 s and 4 wanted, {24, 32, 40, 48}. Where the clip is too short the last frame repeats.
    """
    rate = stored / seconds
    if generator is None:
        start = max(0, int((seconds / 2 - frames // 2) * rate))
    else:
        start = int(generator.integers(0, max(1, int((seconds - frames) * rate))))
    return [min(stored - 1, start + int(k * rate)) for k in range(frames)]


def random_frames(stored: int, frames: int, generator: np.random.Generator | None) -> list[int]:
    """`frames` of the stored ones, sorted, without replacement where there are enough."""
    if generator is None:
        return segment_frames(stored, frames, None)
    if frames == 1:
        return [int(generator.integers(stored))]
    chosen = generator.choice(stored, frames, replace=frames > stored)
    return sorted(int(index) for index in chosen)


def segment_frames(stored: int, frames: int, generator: np.random.Generator | None) -> list[int]:
    """One frame of each of `frames` equal parts: a random one, or the middle (TSN sampling)."""
    edges = np.arange(frames + 1) * stored / frames
    if generator is None:
        inside = (edges[:-1] + edges[1:]) / 2
    else:
        inside = edges[:-1] + generator.random(frames) * stored / frames
    return [min(stored - 1, int(place)) for place in inside]


def nearest_frames(
    times: NDArray[np.float32] | None, stored: int, seconds: float, wanted: Sequence[float]
) -> list[int]:
    """For each wanted second the stored frame whose presentation time is nearest; ties: earlier."""
    if times is None or len(times) == 0:
        times = (np.arange(stored) * seconds / stored).astype(np.float32)
    gaps = np.abs(times[None, :] - np.asarray(wanted, np.float32)[:, None])
    return [int(index) for index in gaps.argmin(axis=1)]
