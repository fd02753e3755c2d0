"""Decide which frames of a sample are read, and where: JPEGs, or pictures of its stored video."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.shard_reader import ByteRange
from avstore.manifests.store import StoreError
from avstore.manifests.video_record import StoredVideo
from avstore.manifests.video_windows import Window, windows
from avstore.train.data.frame_steps import folder_of
from avstore.train.data.rng import Purpose, RandomKey
from avstore.train.data.samples import MemberLayout, SampleList, SampleRow
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms.clips import (
    Clip,
    SoundWindow,
    clip_frames,
    clip_within_sound,
    sound_of,
    valid_frames,
)
from avstore.train.data.transforms.frames import choose_frames
from avstore.train.data.video_columns import SUFFIX


@dataclass(frozen=True, slots=True)
class ChosenFrames:
    """The frames that a request reads.

    Attributes:
        numbers: Their places among the stored frames, or among the pictures of the video.
        times: Presentation time of each, in seconds, float32.
        valid: Whether the clip has each, so that it repeats no other.
        sound: The sound of the same seconds, for frame_choice='clip'.
    """

    numbers: tuple[int, ...]
    times: NDArray[np.float32]
    valid: tuple[bool, ...]
    sound: SoundWindow | None = None


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """The groups to read of a sample's stored video.

    Attributes:
        video: The video.
        windows: Its windows that hold the chosen pictures.
        ranges: Byte range of each window in the shard.
    """

    video: StoredVideo
    windows: tuple[Window, ...]
    ranges: tuple[ByteRange, ...]


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """What to read of a sample's frames.

    Attributes:
        chosen: The chosen frames.
        jpegs: Suffixes of their members; () if they are a video's.
        video: What to read of the video; None for JPEGs.
    """

    chosen: ChosenFrames
    jpegs: tuple[str, ...] = ()
    video: VideoRequest | None = None


def request_frames(
    samples: SampleList, sample: SampleRow, spec: BatchSpec, random: RandomKey, clip: int
) -> FrameRequest:
    """Return what to read of a sample's frames.

    Args:
        samples: The list.
        sample: Its row.
        spec: Settings.
        random: Key of the random choices.
        clip: Number of the clip, of `spec.clips`.

    Raises:
        StoreError: If the spec wants the pictures of a video, and the sample has none.
        ValueError: If the sample has no frames.
    """
    if not from_video(sample.layout, spec):
        stored, times = len(sample.layout.frames), sample.frame_times
        if len(times) != stored:  # imported clips have none
            times = (np.arange(stored) * spec.seconds / max(stored, 1)).astype(np.float32)
        chosen = _choose(stored, times, _step(samples, sample, spec), spec, random, clip)
        return FrameRequest(chosen, tuple(sample.layout.frames[n] for n in chosen.numbers))
    video = samples.video(sample.index)
    if video is None:
        what = "no groups in the manifest" if SUFFIX in sample.layout.slots else "no member"
        raise StoreError(
            f"its video has {what}: read frames of clips that a recipe with [video] stored"
        )
    times = (np.arange(video.frames) / video.rate).astype(np.float32)
    chosen = _choose(video.frames, times, 1 / video.rate, spec, random, clip)
    found = windows(video, chosen.numbers)
    start, _ = sample.range(SUFFIX)
    name = f"{sample.key}.{SUFFIX}"
    ranges = tuple(
        ByteRange(sample.shard, name, start + w.range.offset, w.range.size) for w in found
    )
    return FrameRequest(chosen, video=VideoRequest(video, found, ranges))


def from_video(layout: MemberLayout, spec: BatchSpec) -> bool:
    """Return whether the frames of a sample with these members are read from its video."""
    if spec.frame_source is None:
        return not layout.frames and SUFFIX in layout.slots
    return spec.frame_source == "video"


def _step(samples: SampleList, sample: SampleRow, spec: BatchSpec) -> float:
    """Return the seconds from frame to frame."""
    stored = len(sample.layout.frames)
    if spec.chosen_frames != "clip" or len(sample.frame_times) != stored:
        return spec.seconds / max(stored, 1)
    return samples.frame_steps.get(folder_of(sample.shard), spec.seconds / max(stored, 1))


def _choose(
    stored: int,
    times: NDArray[np.float32],
    step: float,
    spec: BatchSpec,
    random: RandomKey,
    clip: int,
) -> ChosenFrames:
    drawn = random.generator(Purpose.FRAMES) if spec.random else None
    sound = None
    if spec.chosen_frames == "clip" and stored:
        wanted = Clip(spec.frames, spec.frame_stride, spec.clip_start, clip, spec.clips)
        if spec.sound_seconds is None:
            numbers = clip_frames(wanted, times, drawn)
            sound = sound_of(numbers, wanted.stride, times, step, _offset(spec, random))
        else:
            numbers, sound = clip_within_sound(wanted, times, step, spec.sound_seconds, drawn)
    else:
        numbers = choose_frames(
            spec.chosen_frames, stored, spec.frames, spec.seconds, drawn, times, spec.frame_times
        )
    aims = spec.frame_times if spec.chosen_frames == "times" else ()
    valid = valid_frames(numbers, times, aims)
    return ChosenFrames(tuple(numbers), times[numbers], tuple(valid), sound)


def _offset(spec: BatchSpec, random: RandomKey) -> float:
    """Return by how many seconds the sound of a clip is later than its frames."""
    if not (spec.random and spec.sound_offset):
        return 0.0
    return float(random.generator(Purpose.SOUND).uniform(-spec.sound_offset, spec.sound_offset))
