"""Sections of a training configuration that every system shares."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from avstore.manifests.fingerprint import AddedWith

Select = Literal["last", "best"]


class Section(BaseModel):
    """A part of a configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """How stored frames and fbanks become input.

    Attributes:
        workers: Loader processes.
        finish: "device" decodes, crops, masks and adds noise on the GPU, a batch at a time.
        noise: Whether training adds noise to the fbank and rolls it.
        seconds: Length of a clip.
        mean: Mean of the unnormalised fbank.
        std: Standard deviation of the unnormalised fbank.
        crop: Whether training takes STELLA's multi-scale crop of the frames; else the whole frame.
        frame_choice: Frames of training: a "window" of frames one second apart, "random" ones, one
            of each equal "segment", or the middles of "even" parts.
        statistics: Name of a published preset or of what `avstore stats` has kept; replaces `mean`
            and `std`.
        shuffle: Order of training: a "full" permutation; one within "block"s of stored clips, for
            stores in a bucket; "sequential", as stored; or a random clip of each of all "videos"
            that clips are cut from, in turn.
        video_passes: With shuffle = "videos", an epoch takes each video so many times the mean
            number of clips of a video, rounded down.
        block: Clips that shuffle = "block" permutes at a time.
        balanced: Whether training draws clips with replacement, by class-balancing weights.
        on_bad: Whether a clip that cannot be read ends the run ("raise") or is replaced by another
            one of its task ("replace").
        checksum: Whether the stored CRC-32 is compared of no clip, one in 64 ("sampled"), or
            "always".
        freq_mask: Widest SpecAugment mask along frequency, mel bins.
        time_mask: Widest SpecAugment mask along time, fbank frames.
        mixup: Share of the training clips that are mixed with another one of their task.
        mixup_domain: Whether each "feature" that comes out is mixed, or "waveform"s, whose fbank is
            then computed.
        mixup_beta: Both parameters of the Beta distribution of a clip's own share.
        smoothing: Label smoothing epsilon.
        roll: Longest roll of the fbank in time, in frames; without it any length.
        feature_roll: Longest roll of derived features in time, in rows.
        feature_norm: Whether each row of derived features is divided by its norm.
        drop_last: Whether an epoch leaves out its last partial batch, unless it is the only one.
    """

    workers: int = Field(default=0, ge=0)
    finish: Literal["worker", "device"] = "worker"
    noise: bool = True
    seconds: float = 10.0
    mean: float = -5.081
    std: float = Field(default=4.4849, gt=0)
    crop: Annotated[bool, AddedWith(True)] = True
    frame_choice: Annotated[Literal["window", "random", "segment", "even"], AddedWith("window")] = (
        "window"
    )
    statistics: str | None = None
    shuffle: Annotated[Literal["full", "block", "sequential", "videos"], AddedWith("full")] = "full"
    video_passes: Annotated[int, AddedWith(1), Field(ge=1)] = 1
    block: Annotated[int, AddedWith(4096), Field(ge=1)] = 4096
    balanced: Annotated[bool, AddedWith(False)] = False
    on_bad: Annotated[Literal["raise", "replace"], AddedWith("raise")] = "raise"
    checksum: Annotated[Literal["off", "sampled", "always"], AddedWith("off")] = "off"
    freq_mask: Annotated[int, AddedWith(0), Field(ge=0)] = 0
    time_mask: Annotated[int, AddedWith(0), Field(ge=0)] = 0
    mixup: Annotated[float, AddedWith(0.0), Field(ge=0, le=1)] = 0.0
    mixup_domain: Annotated[Literal["feature", "waveform"], AddedWith("feature")] = "feature"
    mixup_beta: Annotated[float, AddedWith(10.0), Field(gt=0)] = 10.0
    smoothing: Annotated[float, AddedWith(0.0), Field(ge=0, lt=1)] = 0.0
    roll: Annotated[int | None, AddedWith(None), Field(ge=0)] = None
    feature_roll: Annotated[int, AddedWith(0), Field(ge=0)] = 0
    feature_norm: Annotated[bool, AddedWith(False)] = False
    drop_last: Annotated[bool, AddedWith(True)] = True


class OptimConfig(Section):
    """Optimiser and learning-rate schedule.

    Attributes:
        name: The optimiser.
        lr: Peak learning rate.
        betas: Adam's two.
        weight_decay: L2 penalty of Adam, decoupled decay of AdamW.
        decayed: What is decayed: all "matrices", but neither vectors, position tables nor tokens;
            or "all" parameters, as in CAV-MAE.
        clip_grad: Largest norm of the gradient; None does not clip.
        layer_decay: Factor of the learning rate from each level of blocks to the one below it.
        head_lr: Factor of the learning rate of a downstream run's head.
        schedule: Shape after the warm-up, a value a step: half a "cosine" down to `min_lr`; "steps"
            multiplies the rate by `step_factor` after `step_start` epochs and then every
            `step_epochs`; "plateau" when the headline score after an epoch has not risen.
        min_lr: Where "cosine" ends.
        by_epoch: Whether the warm-up and "cosine" have one value an epoch, as VALOR's, which reach
            the last one in the last epoch; else a value a step.
        step_start: Epochs before the first drop of "steps".
        step_epochs: Epochs from each drop of "steps" to the next.
        step_factor: Factor of each drop of "steps".
        warmup_epochs: Linear warm-up; fractions are allowed.
        ignore_schedule: Keep the rate at `lr`, as the released continual trainer does (bug B10).
        plateau_patience: Epochs without a higher score before "plateau" multiplies the rate by
            `step_factor`.
        warmup: The linear warm-up of `warmup_epochs` ("epochs"), or that of UAVM's audio extractor,
            over 10,000 clips ("clips").
        published_warmup: Whether that over clips is set at some steps only, and never to the peak,
            as in the released code.
        zero_gradients: Set gradients to zero after a step, not to none: parameters that a step does
            not use are then still moved by the optimiser's momentum, as in UAVM's released runs.
    """

    name: Literal["adam", "adamw"] = "adam"
    lr: float = Field(default=1e-4, gt=0)
    betas: tuple[float, float] = (0.95, 0.999)
    weight_decay: float = Field(default=5e-7, ge=0)
    decayed: Annotated[Literal["matrices", "all"], AddedWith("matrices")] = "matrices"
    clip_grad: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    head_lr: Annotated[float, AddedWith(1.0), Field(gt=0)] = 1.0
    schedule: Literal["none", "cosine", "steps", "plateau"] = "none"
    min_lr: Annotated[float, AddedWith(0.0), Field(ge=0)] = 0.0
    by_epoch: Annotated[bool, AddedWith(False)] = False
    step_start: Annotated[int, AddedWith(10), Field(ge=0)] = 10
    step_epochs: Annotated[int, AddedWith(5), Field(ge=1)] = 5
    step_factor: Annotated[float, AddedWith(0.5), Field(gt=0, le=1)] = 0.5
    warmup_epochs: float = Field(default=0.0, ge=0)
    ignore_schedule: bool = False
    plateau_patience: Annotated[int, AddedWith(2), Field(ge=0)] = 2
    warmup: Annotated[Literal["epochs", "clips"], AddedWith("epochs")] = "epochs"
    published_warmup: Annotated[bool, AddedWith(False)] = False
    zero_gradients: Annotated[bool, AddedWith(False)] = False
