"""Settings of a batch and of its samples: plain frozen dataclasses, checked when they are made."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from avstore.train.data.portable import Portable
from avstore.train.data.random_spec import NO_AUGMENT, Augment, Turns
from avstore.train.data.setting_checks import require_at_least, require_choice

FrameSource = Literal["frames", "video"]
FrameChoice = Literal["window", "middle", "random", "segment", "even", "all", "times", "clip"]
Shuffle = Literal["full", "block", "sequential", "listed"]
Labels = Literal["ids", "index", "multi_hot", "segments", "segments_by_modality"]
RunsOn = Literal["worker", "device"]
Pixels = Literal["float", "uint8"]
OnBad = Literal["raise", "skip", "replace"]
Checksum = Literal["off", "sampled", "always"]

SampleTransform = Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]]
BatchTransform = Callable[[Any, Sequence[np.random.Generator]], Any]

# Mean and standard deviation of the unnormalised fbank, from the released code of CAV-MAE and UAVM.
FBANK_STATISTICS: Mapping[str, tuple[float, float]] = {
    "vggsound": (-5.081, 4.4849),
    "audioset": (-4.2677, 4.5690),
}

MAX_CLIPS = 4096
"""Most clips of one sample."""

# What a base shard stores of a clip.
STORED = ("frames", "fbank", "waveform", "masks")

_FORMER_NAMES = {"video": "frames", "audio": "fbank"}


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """Settings of a batch: what it reads, holds and how its samples are ordered.

    Attributes:
        batch_size: Rows of a global batch, over all ranks.
        frames: Frames of each clip.
        image_size: Side of the square frames, in pixels; None leaves frames as stored.
        fbank_frames: Length that the fbank is cut or padded to, in frames of 10 ms.
        seconds: Duration that the stored frames span.
        random: Training (shuffled, augmented) or evaluation (the list's order, nothing random).
        mean: Mean of the unnormalised fbank.
        std: Standard deviation of the unnormalised fbank.
        drop_last: Leave out an epoch's last partial batch.
        pad_last: Fill it with the epoch's first samples (`Batch.padded` marks them). With neither,
            the last batch is short.
        frame_choice: Which frames (None: 'window' in training, 'middle' in evaluation). 'window':
            one second apart from a random start; 'middle': the same from 5 - frames // 2 seconds;
            'random': any, sorted; 'segment': one of each equal part, in evaluation its middle;
            'even': the middles of equal parts; 'all'; 'times': those nearest to `frame_times`;
            'clip': consecutive ones, `frame_stride` apart, from a random start in training and
            the middle in evaluation, with the waveform and the fbank of the same seconds.
            `Batch.frames_valid` marks frames that a clip does not have and that repeat others.
        frame_times: For frame_choice='times', in seconds.
        frame_stride: For frame_choice='clip': steps from frame to frame.
        clip_start: For frame_choice='clip': seconds at which every clip begins.
        sound_offset: For frame_choice='clip': in training, the sound begins up to so many seconds
            before or after the frames, drawn uniformly (`Batch.waveform_start`).
        sound_seconds: For frame_choice='clip': length of the sound, in which the frames lie (AVSA:
            1.0 for frames of 0.5 s): at a random time of it in training, in its middle in
            evaluation. None for the seconds of the frames.
        clips: For frame_choice='clip': clips of each sample, each a row of the batch, one after
            the other: drawn independently in training, spread evenly from start to end in
            evaluation (`Batch.by_sample`).
        frame_source: Where frames come from: the stored 'frames' (JPEGs), or pictures of the
            stored 'video'. None for JPEGs where a clip has them, else its video.
        pixels: 'float' for float32 normalised by ImageNet's statistics; 'uint8' leaves that to
            `Batch.to`.
        fbank: 'worker' for a float32 fbank, masked, normalised, noisy and rolled; 'device' leaves
            it as stored (float16) for `Batch.to`, which does the same by the same choices, with
            other noise (experimental: not run on a GPU).
        decode: 'worker' to decode JPEGs in the worker, 'device' in `Batch.to` (nvJPEG on a GPU;
            experimental: not run on a GPU).
        read: What to read: 'frames', 'fbank', 'waveform', 'masks' (AVSBench's, of the first
            `segments` seconds), and derived features by the names given to `sample_list`. The
            former names 'video' (frames) and 'audio' (fbank) still work.
        waveform_samples: Length that the waveform is cut or padded to, in samples; None for
            `seconds` at its sampling rate.
        sample_rate: Hz that waveforms are resampled to; None takes them as stored, and refuses
            batches of several rates.
        channels: Channels of the stored waveforms: 1; 2 for left and right; 4 for W, Y, Z, X. A
            clip that has another number is an error, never mixed. Mixup of several channels mixes
            each with its like; mixup_domain='waveform' takes one channel only.
        fbank_mels: Mel bins of the fbank of mixed waveforms.
        feature_rows: Rows (time) that derived features are cut or padded to; None leaves them.
        feature_norm: Divide each row of derived features by its L2 norm (UAVM).
        labels: 'ids' (a list for each sample), 'index' (int64 [B], for single-label clips),
            'multi_hot' (float32 [B, classes]), 'segments' (float32 [B, segments, classes], one
            segment a second) or 'segments_by_modality' ([B, segments, 2, classes]: audio, visual).
        classes: Classes of multi-hot labels; None for the size of the vocabulary.
        smoothing: Label smoothing epsilon of multi-hot training labels (UAVM).
        segments: Number of segments.
        background: Class of segments without a label (AVE: 28).
        mask_size: Side of whole masks, in pixels; None crops and resizes them with the frames.
        shuffle: Order of samples (None: 'full' in training, 'listed' in evaluation). 'full': a
            permutation; 'block': shards in random order, permuted within windows of `block`
            samples; 'sequential': as stored; 'listed': as in the list.
        block: Samples of a window of shuffle='block'.
        weighted: Draw with replacement by the list's weights, whatever `shuffle` is.
        augment: Augmentation of training samples.
        turns: Features of `read` of which each step reads one; None to read all at every step.
        transform: Function of a sample, a dict of what was read, and of a random generator of the
            row's own; it returns the dict with arrays changed, added or left out. Frames are
            [T, height, width, 3] in [0, 255], fbank and waveform as in the batch, without its
            dimension. What it adds is in `Batch.extras`.
        batch_transform: Function of a Batch and of a list of generators, one for each row; it
            returns a Batch.

    Example:
        >>> spec = BatchSpec(batch_size=4, frames=2, image_size=24, labels="multi_hot")
        >>> batch = next(iter(Loader(samples, spec)))
        >>> tuple(batch.video.shape), tuple(batch.labels.shape)
        ((4, 2, 3, 24, 24), (4, 5))
    """

    batch_size: int
    frames: int = 4
    image_size: int | None = 224
    fbank_frames: int = 1024
    seconds: float = 10.0
    random: bool = True
    mean: float = FBANK_STATISTICS["vggsound"][0]
    std: float = FBANK_STATISTICS["vggsound"][1]
    drop_last: bool = False
    pad_last: bool = False
    frame_choice: FrameChoice | None = None
    frame_times: tuple[float, ...] = ()
    frame_stride: int = 1
    clip_start: float | None = None
    sound_offset: float = 0.0
    sound_seconds: float | None = None
    clips: int = 1
    frame_source: FrameSource | None = None
    pixels: Pixels = "float"
    fbank: RunsOn = "worker"
    decode: RunsOn = "worker"
    read: tuple[str, ...] = ("frames", "fbank")
    waveform_samples: int | None = None
    sample_rate: int | None = None
    channels: int = 1
    fbank_mels: int = 128
    feature_rows: int | None = None
    feature_norm: bool = False
    labels: Labels = "ids"
    classes: int | None = None
    smoothing: float = 0.0
    segments: int = 10
    background: int | None = None
    mask_size: int | None = None
    shuffle: Shuffle | None = None
    block: int = 4096
    weighted: bool = False
    augment: Augment = NO_AUGMENT
    turns: Turns | None = None
    transform: SampleTransform | None = None
    batch_transform: BatchTransform | None = None

    def __post_init__(self) -> None:
        require_choice(self, frame_choice=FrameChoice, shuffle=Shuffle, labels=Labels)
        require_choice(self, pixels=Pixels, fbank=RunsOn, decode=RunsOn, frame_source=FrameSource)
        require_at_least(self, 1, "clips")
        require_at_least(self, 1, "batch_size", "frames", "fbank_frames", "segments", "block")
        require_at_least(self, 1, "image_size", "waveform_samples", "feature_rows", "classes")
        require_at_least(self, 1, "mask_size", "channels", "sample_rate", "frame_stride")
        require_at_least(self, 4, "fbank_mels")  # fewest that Kaldi's filters allow
        if isinstance(self.read, str) or not self.read:
            raise ValueError(
                f"read={self.read!r} is not a tuple of names, such as ('frames', 'fbank')"
            )
        names = (_FORMER_NAMES.get(name, name) for name in self.read)
        object.__setattr__(self, "read", tuple(dict.fromkeys(names)))
        if not math.isfinite(self.mean):
            raise ValueError(f"mean={self.mean!r} is not a finite number")
        if not 0 < self.std < math.inf:
            raise ValueError(f"std={self.std!r} is not a positive finite number")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds={self.seconds!r} is not a positive finite number")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing={self.smoothing!r} is not in [0, 1)")
        if not isinstance(self.frame_times, Sequence):
            raise ValueError(
                f"frame_times={self.frame_times!r} is not a sequence of seconds, such as (2.5,)"
            )
        self._check_transforms()
        self._check_combinations()

    def _check_transforms(self) -> None:
        """Raise ValueError for transforms that are none, or that something else excludes."""
        for name in ("transform", "batch_transform"):
            function = getattr(self, name)
            if function is None:
                continue
            if not callable(function):
                raise ValueError(f"{name}={function!r} is not a function")
            if not isinstance(function, Portable):
                object.__setattr__(self, name, Portable(function))
        if self.transform and "device" in (self.decode, self.fbank):
            raise ValueError(
                "a transform is given decoded frames and finished fbanks: use it with "
                "decode='worker' and fbank='worker'"
            )

    def _check_combinations(self) -> None:
        """Raise ValueError for settings that exclude each other."""
        if self.drop_last and self.pad_last:
            raise ValueError(
                "drop_last leaves out the last batch and pad_last fills it: choose one of them"
            )
        if self.frame_choice == "times" and not self.frame_times:
            raise ValueError("frame_choice='times' needs frame_times, in seconds")
        self._check_clip()
        if self.decode == "device" and (self.image_size is None or self.mixing):
            raise ValueError("decode='device' needs an image_size, and cannot be used with mixup")
        if self.fbank == "device" and self.mixing:
            raise ValueError("fbank='device' cannot be used with mixup: use it without mixup")
        if "masks" in self.read and (self.image_size is None or self.mixing):
            raise ValueError("masks need an image_size, and cannot be read with mixup")
        if self.mixing and self.augment.mixup_domain == "waveform" and self.channels > 1:
            raise ValueError(
                f"mixup_domain='waveform' takes channels=1, not {self.channels}: use 'feature'"
            )
        if self.mixing and self.labels in ("ids", "index"):
            raise ValueError(
                f"labels={self.labels!r} cannot be mixed: with mixup, labels must be 'multi_hot' "
                "or 'segments'"
            )

    def _check_clip(self) -> None:
        """Raise ValueError for settings of frame_choice='clip' that are wrong, or without it."""
        settings = {
            "frame_stride": self.frame_stride != 1,
            "clip_start": self.clip_start is not None,
            "sound_offset": self.sound_offset != 0,
            "sound_seconds": self.sound_seconds is not None,
            "clips": self.clips != 1,
        }
        if self.frame_choice != "clip":
            if given := [name for name, value in settings.items() if value]:
                raise ValueError(f"{', '.join(given)} needs frame_choice='clip'")
            return
        if "frames" not in self.read:
            raise ValueError(f"frame_choice='clip' needs 'frames' in read, which is {self.read!r}")
        for name in ("clip_start", "sound_offset"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}={value!r} is not a number of seconds of at least 0")
        if self.sound_seconds is not None and not 0 < self.sound_seconds < math.inf:
            raise ValueError(f"sound_seconds={self.sound_seconds!r} is not a positive number")
        if self.sound_seconds is not None and self.sound_offset:
            raise ValueError(
                "sound_offset moves sound that is as long as the frames, and sound_seconds takes "
                "longer sound around them: choose one of them"
            )
        if self.clips > MAX_CLIPS:
            raise ValueError(f"clips={self.clips} are more than {MAX_CLIPS} of one sample")
        if self.clips > 1 and self.clip_start is not None:
            raise ValueError("clip_start is where the only clip of a sample begins: use clips=1")

    def at(self, step: int) -> "BatchSpec":
        """Return the settings of a step: with `turns`, they read one of its features."""
        if self.turns is None:
            return self
        idle = {*self.turns.features} - {self.turns.feature(step)}
        return replace(self, read=tuple(name for name in self.read if name not in idle))

    def waveform_length(self, rate: int) -> int:
        """Return the samples of a waveform in the batch, at a sampling rate in Hz."""
        return self.waveform_samples or max(round(self.seconds * rate), 1)

    @property
    def chosen_frames(self) -> FrameChoice:
        """`frame_choice`, or its default."""
        return self.frame_choice or ("window" if self.random else "middle")

    @property
    def chosen_shuffle(self) -> Shuffle:
        """`shuffle`, or its default."""
        return self.shuffle or ("full" if self.random else "listed")

    @property
    def mixing(self) -> bool:
        """Whether samples may be mixed with others."""
        return self.random and self.augment.mixup > 0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the derived features that are read."""
        return tuple(name for name in self.read if name not in STORED)

    @property
    def plain_features(self) -> bool:
        """Whether derived features go to the batch as stored, neither normalised nor rolled."""
        return not (self.feature_norm or (self.random and self.augment.feature_roll > 0))


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """What to do about samples that cannot be read, and how thoroughly to check them.

    The tar header in front of each member is always checked.

    Attributes:
        on_bad: 'raise' a BadSampleError; 'skip' the sample, so that the batch is shorter; or
            'replace' it by another one of the list. `Batch.problems` lists the last two.
        checksum: 'off'; 'always' to read whole samples and compare their CRC-32; or 'sampled' to do
            so for one sample of `sampled_one_in`, at random.
        sampled_one_in: See `checksum`.

    Example:
        >>> loader = Loader(samples, BatchSpec(4), policy=ErrorPolicy(on_bad="skip"))
    """

    on_bad: OnBad = "raise"
    checksum: Checksum = "off"
    sampled_one_in: int = 64

    def __post_init__(self) -> None:
        require_choice(self, on_bad=OnBad, checksum=Checksum)
        require_at_least(self, 1, "sampled_one_in")


DEFAULT_POLICY = ErrorPolicy()
