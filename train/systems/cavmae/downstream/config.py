"""Configuration of a downstream run: a TOML file of train/configs/downstream, validated."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from avstore.manifests.fingerprint import AddedWith
from avstore.train.config import (
    CONFIGS,
    RunConfig,
    apply_overrides,
    config_names,
    read_config,
    validation_message,
)
from avstore.train.errors import UserError
from avstore.train.sections import DataConfig, OptimConfig
from avstore.train.systems.cavmae.model_config import ModelConfig

FOLDER = CONFIGS / "downstream"

Modality = Literal["both", "audio", "video", "audio_of_both", "video_of_both"]

# What `fidelity = "published"` sets beside `select = "best"`, by task and number of the bug in
# docs/published.md.
PUBLISHED_TASKS: dict[str, dict[str, tuple[str, Any]]] = {
    "event": {"B13": ("audio_windows", "published")},
    "segment": {"B6": ("crop", True), "head": ("avs_head", "published")},
}


class DownstreamConfig(RunConfig):
    """One downstream run.

    Attributes:
        task: What is trained and scored.
        epochs: Epochs of training; 0 scores only.
        batch_size: Rows of a training batch.
        eval_batch: Rows of an evaluation batch.
        precision: Of the forward pass.
        init: Weights to start from: a task-*.pt of a run, whose model shape is used, or a published
            file.
        frozen: Whether the backbone is not trained.
        select: Epoch to report: the "last", or the "best" on the evaluation list, as published.
        windows: Starts of the 4 s windows to average in the final scores, seconds.
        crop: Whether frames are cropped at random in training; by default as `data.crop` says, but
            not for segmentation, whose masks are not cropped (bug B6).
        noise: Whether training adds noise to the fbank and rolls it.
        freq_mask: Widest SpecAugment mask along frequency, mel bins.
        time_mask: Widest SpecAugment mask along time, fbank frames.
        audio_windows: Where AVE's seconds of audio begin: at whole "seconds", or as in the released
            code (bug B13).
        mask_fit: How masks are fitted to the stored frames: centre crop or stretched.
        avs_head: Residual units of the segmentation head: as described, or as released, whose skip
            adds relu(x). Set for segmentation alone.
        balanced: Whether training draws clips with replacement, by class-balancing weights.
        average: First and last epoch, from 1, whose weights are averaged for the final scores;
            replaces `select`.
        modality: What cavmae_classify takes: "both"; "audio" or "video" alone; or "audio_of_both"
            or "video_of_both", which is one alone for a model that was finetuned with both.
        mixup: Share of the training clips of cavmae_classify that are mixed with another one.
        smoothing: Label smoothing epsilon of cavmae_classify.
        final_frames: Inputs of `model.frames` frames, spread evenly over a clip, whose
            probabilities cavmae_classify averages in the final scores; sound alone needs one.
        labels: Label set to score by, `<name>` or `<name>:<modality>`, such as `vggsounder:audio`;
            None for the dataset's own labels. Training always takes these.
    """

    SPEED: ClassVar[dict[str, Any]] = {"data": {"workers"}}

    task: Literal["classify", "cavmae_classify", "event", "segment", "retrieval"]
    epochs: int = Field(default=15, ge=0)
    batch_size: int = Field(default=48, ge=1)
    eval_batch: int = Field(default=16, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    init: str | None = None
    frozen: bool = True
    select: Literal["last", "best"] = "last"
    windows: tuple[float, ...] = (0.0, 2.0, 4.0, 6.0)
    crop: bool | None = None
    noise: bool = True
    freq_mask: int = Field(default=0, ge=0)
    time_mask: int = Field(default=0, ge=0)
    audio_windows: Literal["seconds", "published"] = "seconds"
    mask_fit: Literal["crop", "stretch"] = "crop"
    avs_head: Annotated[Literal["described", "published"] | None, AddedWith(None)] = None
    balanced: Annotated[bool, AddedWith(False)] = False
    average: Annotated[tuple[int, int] | None, AddedWith(None)] = None
    modality: Annotated[Modality, AddedWith("both")] = "both"
    mixup: Annotated[float, AddedWith(0.0), Field(ge=0, le=1)] = 0.0
    smoothing: Annotated[float, AddedWith(0.0), Field(ge=0, lt=1)] = 0.0
    final_frames: Annotated[int, AddedWith(1), Field(ge=1)] = 1
    labels: Annotated[str | None, AddedWith(None)] = None
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig(name="adamw", lr=5e-4, weight_decay=5e-6)
    data: DataConfig = DataConfig()

    @model_validator(mode="before")
    @classmethod
    def _head_of_segmentation(cls, table: Any) -> Any:
        """Name the head, which an earlier version had otherwise, in the fingerprint."""
        if isinstance(table, dict) and table.get("task") == "segment":
            return {"avs_head": "described", **table}
        return table

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.average and self.epochs:
            first, last = self.average
            if not 1 <= first <= last <= self.epochs:
                raise ValueError(
                    f"average = [{first}, {last}] is no range in epochs 1 to {self.epochs}"
                )
        if self.mixup and self.data.finish == "device":
            raise ValueError("mixup needs data.finish = worker")
        if self.task != "cavmae_classify":
            for key in ("modality", "mixup", "smoothing", "final_frames"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is a setting of the task cavmae_classify alone")
        return self

    @property
    def cropped(self) -> bool:
        """Whether frames are cropped at random in training."""
        return self.task != "segment" and self.data.crop if self.crop is None else self.crop


def downstream_names() -> list[str]:
    """Return the names of the downstream configurations, sorted."""
    return config_names(FOLDER)


def load_downstream(
    config: str, overrides: dict[str, Any], sets: list[str], shape: dict[str, Any] | None = None
) -> DownstreamConfig:
    """Load a downstream configuration.

    Args:
        config: Its name, or the path of a .toml.
        overrides: Values of top-level keys; None leaves a key alone.
        sets: Settings as `key.key=value`, applied last.
        shape: Model configuration of the weights to load, which replaces the configuration's,
            except for `compile`, `checkpointing` and, if the configuration has it, `learned_pos`.

    Raises:
        UserError: Naming the configuration, the key and what is allowed.
    """
    table = read_config(config, FOLDER)
    if shape is not None:
        own = {k: v for k, v in table.get("model", {}).items() if k == "learned_pos"}
        shape = {k: v for k, v in shape.items() if k not in ("compile", "checkpointing")}
        table["model"] = {**shape, **own}
    apply_overrides(table, overrides, sets)
    if table.get("fidelity") == "published":
        table.setdefault("select", "best")
        for key, value in PUBLISHED_TASKS.get(str(table.get("task")), {}).values():
            table.setdefault(key, value)
    try:
        return DownstreamConfig.model_validate(table)
    except ValidationError as error:
        reason = validation_message(error, DownstreamConfig)
        raise UserError(f"config {config!r}: {reason}") from error


def init_path(config: str, given: str | None, sets: list[str]) -> Path | None:
    """Return the weights that a run starts from, which its configuration may depend on."""
    table = read_config(config, FOLDER)
    apply_overrides(table, {"init": given}, sets)
    return Path(table["init"]) if table.get("init") else None
