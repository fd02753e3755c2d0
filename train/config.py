"""A run's configuration: a recipe (TOML), checked, with overrides from the command line."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from avstore.manifests.fingerprint import canonical, differences, digest
from avstore.train import fidelity
from avstore.train.errors import UserError
from avstore.train.systems.cavmae.model_config import ModelConfig

TRAINER_VERSION = "1"
"""Raise this when the trainer's code gives other results for the same configuration."""

RECIPES = Path(__file__).parent / "configs"
_SPEED = {
    **dict.fromkeys(("title", "steps_per_checkpoint", "eval_batch"), True),
    "model": {"attention", "checkpointing", "compile"},
    "data": {"workers"},
}


class Section(BaseModel):
    """A part of the configuration: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """How stored facts become input (spec 2); mean and std are of the unnormalised fbank.

    statistics: in their place, by name: a published preset, or what `avstore stats` has kept.
    finish: 'device' leaves decoding, cropping, masking and noise to the GPU, a batch at a time.
    """

    workers: int = Field(default=0, ge=0)
    finish: Literal["worker", "device"] = "worker"
    noise: bool = True
    seconds: float = 10.0
    mean: float = -5.081
    std: float = Field(default=4.4849, gt=0)
    statistics: str | None = None


class OptimConfig(Section):
    """Optimiser and schedule. schedule: per step; warm-up is in epochs, whole or not.

    ignore_schedule: the rate stays `lr`, as in the released continual trainer whatever was asked
    for (bug B10).
    """

    name: Literal["adam", "adamw"] = "adam"
    lr: float = Field(default=1e-4, gt=0)
    betas: tuple[float, float] = (0.95, 0.999)
    weight_decay: float = Field(default=5e-7, ge=0)
    clip_grad: float | None = Field(default=None, gt=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    schedule: Literal["none", "cosine"] = "none"
    warmup_epochs: float = Field(default=0.0, ge=0)
    ignore_schedule: bool = False


class Config(Section):
    """One run. `epochs` are per task; `batch_size` is global, over processes and accumulation.

    micro_batch: rows of one forward on one device (none: all of them). fidelity: what the paper
    means, or what the released code computes: see fidelity.py. init: weights to start from.
    ties: how retrieval ranks equal scores (bug B22). steps_per_checkpoint: beside the one after
    each task.
    """

    recipe: str
    title: str = ""
    fidelity: Literal["strict", "published"] = "strict"
    method: str = "finetune"
    options: dict[str, Any] | SerializeAsAny[BaseModel] = {}
    stream: str | None = None
    seed: int = 0
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=48, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    init: str | None = None
    avm_init: str | None = None
    steps_per_checkpoint: int = Field(default=500, ge=1)
    eval_batch: int = Field(default=32, ge=1)
    ties: Literal["worst", "published"] = "worst"
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()

    @property
    def settings(self) -> dict[str, Any]:
        """The canonical form of everything that decides the result, without what decides speed."""
        return with_version(canonical(self, exclude=_SPEED))

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of `settings`."""
        return digest(self.settings)


def with_version(form: dict[str, Any]) -> dict[str, Any]:
    """Return a canonical form with the trainer's version, which version 1 leaves out."""
    return form if TRAINER_VERSION == "1" else {**form, "trainer": TRAINER_VERSION}


def other_settings(folder: Path, recorded: dict[str, Any], config: Any) -> UserError:
    """Return the error for a folder whose run has another fingerprint, naming what differs.

    Args:
        folder: The run's folder.
        recorded: What the run wrote; its key `config` is the configuration as JSON.
        config: The configuration of this run, a `Config` or `DownstreamConfig`.
    """
    changed = differences(_settings_of(recorded.get("config", {}), config), config.settings)
    keys = "; ".join(changed) or "the trainer's version"
    return UserError(f"{folder} holds a run with other settings: {keys}; give another --out")


def _settings_of(recorded: dict[str, Any], config: Any) -> dict[str, Any]:
    try:
        old = type(config).model_validate(recorded)
        options = getattr(config, "options", None)
        if isinstance(options, BaseModel) and old.method == config.method:
            own = type(options).model_validate(old.options)
            old = old.model_copy(update={"options": own})
    except ValidationError:  # written by a version with other keys
        return recorded
    form: dict[str, Any] = old.settings
    return form


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_config(recipe: str, overrides: dict[str, Any], sets: list[str]) -> Config:
    """A recipe by name or path, with `overrides` and then `key.key=value` settings applied.

    A method other than the recipe's own starts from that method's options. Raises UserError
    naming the recipe, the key and what is allowed.
    """
    table = read_recipe(recipe)
    method = overrides.get("method")
    if method is not None and method != table.get("method"):
        kept = table.get("options", {}).get("memory_size")
        table["options"] = {} if kept is None else {"memory_size": kept}
    apply(table, overrides, sets)
    if table.get("fidelity") == "published":
        fidelity.publish(table)
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise UserError(f"recipe {recipe!r}: {describe(error)}") from error


def apply(table: dict[str, Any], overrides: dict[str, Any], sets: list[str]) -> None:
    """Put overrides (None: not given) and then `key.key=value` settings into a recipe's table."""
    for key, value in overrides.items():
        if value is not None:
            table[key] = value
    for text in sets:
        _set(table, text)


def describe(error: ValidationError) -> str:
    """A validation error in one line: where, what, and the value."""
    return "; ".join(
        f"{'.'.join(str(part) for part in e['loc']) or 'value'}: {e['msg']} (got {e['input']!r})"
        for e in error.errors()
    )


def read_recipe(recipe: str, folder: Path = RECIPES) -> dict[str, Any]:
    """The table of a recipe by name or path, with those that it extends beneath it."""
    path = Path(recipe) if recipe.endswith(".toml") else folder / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(found.stem for found in folder.glob("*.toml")))
        raise UserError(f"no recipe {recipe!r}; there are: {names}, or a path to a .toml")
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    parent = table.pop("extends", None)
    merged = _merge(read_recipe(str(parent), folder), table) if parent else table
    return {**merged, "recipe": path.stem}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # A method's options mean nothing to another method.
        if key == "options" and over.get("method", base.get("method")) != base.get("method"):
            both = False
        merged[key] = _merge(merged[key], value) if both else value
    if over.get("method", base.get("method")) != base.get("method") and "options" not in over:
        merged.pop("options", None)
    return merged


def _set(table: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r}: write key=value, for example optim.lr=1e-4")
    *parents, last = key.strip().split(".")
    place = table
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {text!r}: {parent} is no section")
    place[last] = _value(value.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None if text.lower() == "none" else text
