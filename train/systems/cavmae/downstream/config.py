"""Configuration of a downstream run: a TOML file of train/configs/downstream, validated."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from avstore.manifests.fingerprint import AddedWith
from avstore.train.config import (
    CONFIGS,
    RunConfig,
    apply_overrides,
    config_names,
    read_config,
    set_defaults,
    validation_message,
)
from avstore.train.errors import UserError
from avstore.train.loader_settings import refuse_unused
from avstore.train.sections import OptimConfig

FOLDER = CONFIGS / "downstream"

Modality = Literal["both", "audio", "video", "audio_of_both", "video_of_both"]

# What `fidelity = "published"` sets beside `select = "best"`, by task and number of the bug in
# docs/published.md.
PUBLISHED_TASKS: dict[str, dict[str, tuple[str, Any]]] = {
    "event": {"B13": ("audio_windows", "published")},
    "segment": {"B6": ("data.crop", True), "head": ("avs_head", "published")},
}

# Defaults of a task's own: masks are not cropped (bug B6), and noise rolls the fbank.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "classify": {"data.drop_last": False},
    "event": {"data.drop_last": False, "data.noise": False},
    "segment": {
        "data.drop_last": False,
        "data.noise": False,
        "data.crop": False,
        "avs_head": "described",
    },
}

# Settings that only one task has, and keys of the section data that mean nothing to a task.
_TASK_OF = {
    "windows": "classify",
    "audio_windows": "event",
    "mask_fit": "segment",
    "avs_head": "segment",
    "modality": "cavmae_classify",
    "final_frames": "cavmae_classify",
}
_OF_FEATURES = ("feature_roll", "feature_norm")
_OF_TARGETS = ("mixup", "mixup_domain", "mixup_beta", "smoothing")
_UNUSED: dict[str, tuple[str, ...]] = {
    "classify": (*_OF_FEATURES, *_OF_TARGETS),
    "cavmae_classify": _OF_FEATURES,
    "event": (*_OF_FEATURES, *_OF_TARGETS, "frame_choice", "roll"),
    "segment": (*_OF_FEATURES, *_OF_TARGETS, "frame_choice", "roll"),
    "retrieval": (*_OF_FEATURES, *_OF_TARGETS, "roll", "freq_mask", "time_mask", "balanced"),
}


class DownstreamConfig(RunConfig):
    """One downstream run.

    Attributes:
        task: What is trained and scored.
        epochs: Epochs of training; 0 scores only.
        eval_batch: Rows of an evaluation batch.
        evaluate: Whether to score after the last epoch, or after each one.
        init: Weights to start from: a task-*.pt of a run, whose model shape is used, or a published
            file.
        frozen: Whether the backbone is not trained.
        windows: Starts of the windows that classify averages in the final scores, seconds: of
            frames a second apart. Without any, the middle one is scored.
        audio_windows: Where AVE's seconds of audio begin: at whole "seconds", or as in the released
            code (bug B13).
        mask_fit: How masks are fitted to the stored frames: centre crop or stretched.
        avs_head: Residual units of the segmentation head: as described, or as released, whose skip
            adds relu(x). Set for segmentation alone.
        modality: What cavmae_classify takes: "both"; "audio" or "video" alone; or "audio_of_both"
            or "video_of_both", which is one alone for a model that was finetuned with both.
        final_frames: Inputs of `model.frames` frames, spread evenly over a clip, whose
            probabilities cavmae_classify averages in the final scores; sound alone needs one.
        labels: Label set to score by, `<name>` or `<name>:<modality>`, such as `vggsounder:audio`;
            None for the dataset's own labels. Training always takes these.
    """

    task: Literal["classify", "cavmae_classify", "event", "segment", "retrieval"]
    epochs: int = Field(default=15, ge=0)
    eval_batch: int = Field(default=16, ge=1)
    evaluate: Literal["task", "epoch"] = "epoch"
    frozen: bool = True
    windows: tuple[float, ...] = (0.0, 2.0, 4.0, 6.0)
    audio_windows: Literal["seconds", "published"] = "seconds"
    mask_fit: Literal["crop", "stretch"] = "crop"
    avs_head: Annotated[Literal["described", "published"] | None, AddedWith(None)] = None
    modality: Annotated[Modality, AddedWith("both")] = "both"
    final_frames: Annotated[int, AddedWith(1), Field(ge=1)] = 1
    labels: Annotated[str | None, AddedWith(None)] = None
    optim: OptimConfig = OptimConfig(name="adamw", lr=5e-4, weight_decay=5e-6)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, table: Any) -> Any:
        if isinstance(table, dict):
            table = {**table, "data": {**table.get("data", {})}}
            set_defaults(table, _DEFAULTS.get(str(table.get("task")), {}))
        return table

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        for key, task in _TASK_OF.items():
            default = type(self).model_fields[key].default
            if task != self.task and getattr(self, key) != default:
                raise ValueError(f"{key} is a setting of the task {task} alone")
        refuse_unused(self.data, _UNUSED[self.task], f"the task {self.task}")
        if self.data.noise and "data.noise" in _DEFAULTS.get(self.task, {}):
            raise ValueError(
                f"data.noise rolls the fbank, and the task {self.task} needs its seconds in place"
            )
        late = [start for start in self.windows if not 0 <= start < self.data.seconds]
        if self.task == "classify" and late:
            raise ValueError(
                f"windows begin at {late[0]:g} s, outside a clip of {self.data.seconds:g} s"
            )
        if self.task == "retrieval" and self.epochs:
            raise ValueError(f"retrieval trains nothing: set epochs = 0 (got {self.epochs})")
        return self


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
        published = PUBLISHED_TASKS.get(str(table.get("task")), {})
        best = {} if table.get("average") else {"select": "best"}
        set_defaults(table, {**best, **dict(published.values())})
    try:
        return DownstreamConfig.model_validate(table)
    except ValidationError as error:
        reason = validation_message(error, DownstreamConfig)
        raise UserError(f"config {config!r}: {reason}") from error


def init_path(config: str, given: str | None, sets: list[str]) -> Path | None:
    """Return the weights that a run starts from, which its configuration may depend on."""
    table = read_config(config, FOLDER)
    apply_overrides(table, {"init": given}, sets)
    path = table.get("init")
    return Path(path) if path and isinstance(path, str) else None
