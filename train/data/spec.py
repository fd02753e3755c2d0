"""What a batch holds, and how its samples are chosen: plain frozen settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal, get_args

FrameChoice = Literal["window", "middle", "random", "segment", "even", "all", "times"]
Shuffle = Literal["full", "block", "sequential", "listed"]
Labels = Literal["ids", "index", "multi_hot", "segments"]
Where = Literal["worker", "device"]
Pixels = Literal["float", "uint8"]
MixupDomain = Literal["waveform", "feature"]
OnBad = Literal["raise", "skip", "replace"]
Checksum = Literal["off", "sampled", "always"]

# Mean and standard deviation of the unnormalised fbank, as published (CAV-MAE, UAVM).
FBANK_STATISTICS: Mapping[str, tuple[float, float]] = {
    "vggsound": (-5.081, 4.4849),
    "audioset": (-4.2677, 4.5690),
}


def _one_of(settings: object, **choices: object) -> None:
    """Raise ValueError for a value that is none of its choices (None: not chosen)."""
    for name, kind in choices.items():
        value, known = getattr(settings, name), get_args(kind)
        if value is not None and value not in known:
            raise ValueError(f"{name} is {', '.join(map(repr, known))}, not {value!r}")


def at_least(settings: object, least: int, *names: str) -> None:
    """Raise ValueError for what is no whole number of at least `least` (None: not given)."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (isinstance(value, Integral) and int(value) >= least):
            raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Augment:
    """Random changes of training samples. Off wherever `BatchSpec.random` is.

    crop: STELLA's multi-scale corner crop, one for all frames of a clip.
    noise: uniform noise of random strength up to 0.1, then a roll in time by up to `roll` frames
    (None: by any number). freq_mask, time_mask: SpecAugment, longest mask in bins and in frames.
    mixup: probability of mixing a sample with another one of the list; mixup_domain: of the
    waveforms, before one fbank is taken of the mixture, or of the features that come out.
    mixup_beta: both parameters of the Beta distribution of the share.
    feature_roll: roll derived features in time, together, by up to so many rows (UAVM: 15).
    """

    crop: bool = True
    noise: bool = True
    roll: int | None = None
    freq_mask: int = 0
    time_mask: int = 0
    mixup: float = 0.0
    mixup_domain: MixupDomain = "feature"
    mixup_beta: float = 10.0
    feature_roll: int = 0

    def __post_init__(self) -> None:
        _one_of(self, mixup_domain=MixupDomain)
        if not 0 <= self.mixup <= 1:
            raise ValueError(f"mixup is a probability, not {self.mixup}")
        at_least(self, 0, "freq_mask", "time_mask", "feature_roll", "roll")
        if not 0 < self.mixup_beta < math.inf:
            raise ValueError(f"mixup_beta is a number above 0, not {self.mixup_beta}")


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """What a batch holds.

    batch_size: over all ranks. random: training (samples shuffled, random choices made), else
    evaluation (the list's order, middle frames, nothing random).
    frames: how many of a clip's frames; frame_choice: which (None: 'window' in training, 'middle'
    in evaluation). window: one second apart from a random start; middle: the same from
    5 - frames // 2 seconds; random: any, sorted; segment: one of each equal part, its middle in
    evaluation; even: the middles of equal parts; all; times: nearest to `frame_times` (seconds).
    seconds: the span of the stored frames. image_size: side of the square that comes out; None
    leaves frames as they are stored. pixels: 'float' is ImageNet-normalised float32, 'uint8' is
    left for the device (`Batch.to` normalises there).
    fbank_frames: length that fbank is cut or padded to; mean, std: of the unnormalised fbank.
    fbank: finished in the worker, or left as it is stored (float16) for `Batch.to`, which masks,
    normalises, adds noise and rolls on the device, with the same choices and noise of its own.
    read: what to read: 'video', 'audio' (fbank), 'waveform', 'masks' (AVSBench's, of seconds up to
    `segments`; mask_size: side of whole masks; None crops and resizes them with the frames), and
    derived features by the names that the sample list was made with.
    waveform_samples: length it is cut or padded to.
    fbank_mels: of the fbank of mixed waveforms. feature_rows: rows (time) that derived features
    are cut or padded to; feature_norm: divide each by its L2 norm (UAVM).
    labels: 'ids' (a list a sample), 'index' (int64 [B], single-label), 'multi_hot' (float32
    [B, classes]) or 'segments' (float32 [B, segments, classes], one a second); classes: None for
    the size of the vocabulary. smoothing: epsilon of the multi-hot targets (UAVM).
    background: class that a segment without a label has (AVE: 28).
    shuffle: order of samples (None: 'full' in training, 'listed' in evaluation); block: samples
    of the shuffled window of 'block'. weighted: draw with replacement, by the list's weights.
    drop_last, pad_last: leave out an epoch's last partial batch, or fill it with the epoch's
    first samples (`Batch.padded` marks them); neither: it is short.
    decode: JPEGs in the worker, or on the device in `Batch.to` (nvJPEG on a GPU).
    """

    batch_size: int
    frames: int = 4
    image_size: int | None = 224
    fbank_frames: int = 1024
    seconds: float = 10.0
    random: bool = True
    noise: bool = True
    mean: float = FBANK_STATISTICS["vggsound"][0]
    std: float = FBANK_STATISTICS["vggsound"][1]
    drop_last: bool = False
    pad_last: bool = False
    frame_choice: FrameChoice | None = None
    frame_times: tuple[float, ...] = ()
    pixels: Pixels = "float"
    fbank: Where = "worker"
    decode: Where = "worker"
    read: tuple[str, ...] = ("video", "audio")
    waveform_samples: int = 160_000
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
    augment: Augment = Augment()

    def __post_init__(self) -> None:
        _one_of(self, frame_choice=FrameChoice, shuffle=Shuffle, labels=Labels)
        _one_of(self, pixels=Pixels, fbank=Where, decode=Where)
        at_least(self, 1, "batch_size", "frames", "fbank_frames", "segments", "block")
        at_least(self, 1, "image_size", "waveform_samples", "feature_rows")
        at_least(self, 4, "fbank_mels")  # Kaldi's filters
        at_least(self, 1, "classes", "mask_size")
        if isinstance(self.read, str) or not self.read:
            raise ValueError(
                f"read is a tuple of names, such as ('video', 'audio'), not {self.read!r}"
            )
        if not (self.std > 0 and math.isfinite(self.std) and math.isfinite(self.mean)):
            raise ValueError(f"mean is a number and std one above 0, not {self.mean}, {self.std}")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds is a number above 0, not {self.seconds}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is at least 0 and below 1, not {self.smoothing}")
        if self.drop_last and self.pad_last:
            raise ValueError("drop_last leaves the last batch out, pad_last fills it: choose one")
        if not isinstance(self.frame_times, Sequence):
            raise ValueError(f"frame_times are seconds, such as (2.5,), not {self.frame_times!r}")
        if self.frame_choice == "times" and not self.frame_times:
            raise ValueError("frame_choice 'times' needs frame_times, in seconds")
        if self.decode == "device" and (self.image_size is None or self.mixing):
            raise ValueError("decode='device' needs an image_size, and no mixup")
        if self.fbank == "device" and self.mixing:
            raise ValueError("fbank='device' needs batches without mixup")
        if "masks" in self.read and (self.image_size is None or self.mixing):
            raise ValueError("masks need an image_size, and no mixup")
        if self.mixing and self.labels in ("ids", "index"):
            raise ValueError("mixup mixes targets: labels are 'multi_hot' or 'segments'")

    @property
    def chosen_frames(self) -> FrameChoice:
        """`frame_choice`, with its default."""
        return self.frame_choice or ("window" if self.random else "middle")

    @property
    def chosen_shuffle(self) -> Shuffle:
        """`shuffle`, with its default."""
        return self.shuffle or ("full" if self.random else "listed")

    @property
    def mixing(self) -> bool:
        """Whether samples are mixed."""
        return self.random and self.augment.mixup > 0

    def with_statistics(self, mean: float, std: float) -> "BatchSpec":
        """The same with other statistics of the fbank: a preset's, or the store's own."""
        return replace(self, mean=mean, std=std)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do about samples that cannot be used, and how hard to look for them.

    on_bad: 'raise'; 'skip' (the batch is shorter by it); 'replace' (another sample of the list,
    drawn anew). Skipped and replaced ones are in `Batch.problems`. A header in front of each
    member is always checked; checksum reads whole samples besides and compares their CRC-32:
    'sampled' one of `sampled_one_in`, 'always' all.
    """

    on_bad: OnBad = "raise"
    checksum: Checksum = "off"
    sampled_one_in: int = 64

    def __post_init__(self) -> None:
        _one_of(self, on_bad=OnBad, checksum=Checksum)
        at_least(self, 1, "sampled_one_in")


DEFAULT_POLICY = Policy()
