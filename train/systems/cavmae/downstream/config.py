"""Configuration of a downstream run: a recipe of train/configs/downstream, checked."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from avstore.manifests.fingerprint import canonical, digest
from avstore.train import fidelity
from avstore.train.config import (
    RECIPES,
    DataConfig,
    OptimConfig,
    Section,
    apply,
    describe,
    read_recipe,
    with_version,
)
from avstore.train.errors import UserError
from avstore.train.systems.cavmae.model_config import ModelConfig

FOLDER = RECIPES / "downstream"


class DownstreamConfig(Section):
    """One downstream run (spec 4 and 5.3).

    init: a task-*.pt or task checkpoint of a run of ours (its model's shape is taken over) or a
    published file; frozen: whether the backbone stays as it is. select: "last" epoch, or the one
    that is "best" on the evaluation list, as published. windows: starts, in seconds, of the 4 s
    that are averaged in the end. crop: random crops of the frames in training; by default all
    but in segmentation, whose masks they know nothing of (bug B6). audio_windows: of AVE, at whole
    "seconds", or where the "published" code starts them. freq_mask, time_mask: SpecAugment.
    """

    recipe: str
    title: str = ""
    fidelity: Literal["strict", "published"] = "strict"
    task: Literal["classify", "event", "segment", "retrieval"]
    stream: str | None = None
    seed: int = 0
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
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig(name="adamw", lr=5e-4, weight_decay=5e-6)
    data: DataConfig = DataConfig()

    @property
    def cropped(self) -> bool:
        """Whether frames are cropped at random in training."""
        return self.task != "segment" if self.crop is None else self.crop

    @property
    def settings(self) -> dict[str, Any]:
        """The canonical form of everything that decides the result."""
        return with_version(canonical(self, exclude={"title": True, "data": {"workers"}}))

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of `settings`."""
        return digest(self.settings)


def downstream_names() -> list[str]:
    """The recipes there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_downstream(
    recipe: str, overrides: dict[str, Any], sets: list[str], shape: dict[str, Any] | None = None
) -> DownstreamConfig:
    """A recipe with overrides, as `load_config` reads one; shape: of the model that is loaded,
    in the place of the recipe's."""
    table = read_recipe(recipe, FOLDER)
    if shape is not None:
        table["model"] = {k: v for k, v in shape.items() if k not in ("compile", "checkpointing")}
    apply(table, overrides, sets)
    if table.get("fidelity") == "published":
        fidelity.publish_downstream(table)
    try:
        return DownstreamConfig.model_validate(table)
    except ValidationError as error:
        raise UserError(f"recipe {recipe!r}: {describe(error)}") from error


def init_path(recipe: str, given: str | None, sets: list[str]) -> Path | None:
    """Which weights a run starts from, before its configuration is put together."""
    table = read_recipe(recipe, FOLDER)
    apply(table, {"init": given}, sets)
    return Path(table["init"]) if table.get("init") else None
