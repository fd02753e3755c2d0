"""Training configurations: TOML files with overrides from the command line, validated."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    model_validator,
)

from avstore.manifests.fingerprint import AddedWith, canonical, differences, digest
from avstore.manifests.foreign_files import read_toml
from avstore.manifests.nearest import did_you_mean
from avstore.train.errors import UserError
from avstore.train.sections import DataConfig, OptimConfig, Section, Select
from avstore.train.systems import NoSettings, find_system
from avstore.train.systems.cavmae.model_config import ModelConfig

TRAINER_VERSION = "2"
"""Raise this when the trainer's code gives other results for the same configuration."""

CONFIGS = Path(__file__).parent / "configs"

_LEAST_WARMUP_BATCH = 10

# Of every system that sees views of panoramas.
_VIEWS = {"D1": ("objective.geometry", "published"), "D2": ("objective.distance", 0.0)}

# What `fidelity = "published"` sets, by the system and the row of the table in docs/published.md,
# and options of the methods that have them. A key that the configuration or the command line sets
# keeps its value.
PUBLISHED: dict[str, dict[str, tuple[str, Any]]] = {
    "cavmae": {
        "B10": ("optim.ignore_schedule", True),
        "B11": ("model.audio_pos", "published"),
        "MAE": ("model.mae_start", "published"),
        "B22": ("ties", "published"),
        "GPUs": ("model.negatives", "published"),
    },
    "uavm": {"idle": ("optim.zero_gradients", True)},
    "avsa": _VIEWS,
    "avsa_pairs": {**_VIEWS, "head": ("objective.dropout", 0.0)},
    "avsa_segmentation": {
        **_VIEWS,
        "D7": ("objective.augmented_test", True),
        "backbone": ("objective.backbone", "published"),
    },
    "convnext": {"warm-up": ("optim.published_warmup", True)},
}
PUBLISHED_OPTIONS: dict[str, tuple[str, Any]] = {
    "B7": ("avm_merge", "published"),
    "B8": ("core_order", "published"),
}


class RunConfig(Section):
    """Settings that configurations of training and of evaluation share.

    Attributes:
        name: Name of the configuration's file.
        title: For people; does not enter the fingerprint.
        fidelity: What the papers mean ("strict") or what the released code computes.
        stream: Task stream; None takes the first whose tasks all have clips.
        seed: Of weights, order, augmentation and methods.
        epochs: Epochs of each task; 0 scores the weights of `init` as they are.
        batch_size: Global: rows of one step over all processes and accumulated parts.
        micro_batch: Rows of one forward pass on one device; None takes all of them.
        precision: Of the forward pass.
        init: Weights to start from.
        steps_per_checkpoint: Beside the checkpoint after each task.
        eval_batch: Rows of an evaluation batch.
        evaluate: Whether to score after each task, or after each epoch too.
        select_on: Clips that are scored after an epoch and select the weights: those that the run
            reports on ("eval"), or those of the stream's role "val", as VALOR's.
        select: Epoch whose weights a run of one task reports: the "last", or the "best" on the
            evaluation list, as UAVM and STELLA publish.
        average: First and last epoch, from 1, whose mean weights a run of one task reports.
        model: The model's shape, of the system's own kind.
        optim: Optimiser and schedule.
        data: How stored clips become input.
    """

    # keys that do not change the result
    SPEED: ClassVar[dict[str, Any]] = {
        "steps_per_checkpoint": True,
        "eval_batch": True,
        "model": {"attention", "checkpointing", "compile"},
        "data": {"workers", "checksum"},
    }

    name: str
    title: str = ""
    fidelity: Literal["strict", "published"] = "strict"
    stream: str | None = None
    seed: int = 0
    epochs: int = Field(default=10, ge=0)
    batch_size: int = Field(default=48, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    init: str | None = None
    steps_per_checkpoint: int = Field(default=500, ge=1)
    eval_batch: int = Field(default=32, ge=1)
    evaluate: Annotated[Literal["task", "epoch"], AddedWith("task")] = "task"
    select: Annotated[Select, AddedWith("last")] = "last"
    select_on: Annotated[Literal["eval", "val"], AddedWith("eval")] = "eval"
    average: Annotated[tuple[int, int] | None, AddedWith(None)] = None
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()

    @model_validator(mode="before")
    @classmethod
    def _first_key_of_name(cls, table: Any) -> Any:
        """Take the name from `recipe`, the key of runs written before it was renamed."""
        if isinstance(table, dict) and "recipe" in table:
            table = {**table, "name": table["recipe"]}
            del table["recipe"]
        return table

    @model_validator(mode="after")
    def _epochs_fit_together(self) -> Self:
        needed = {
            "select = best": self.select == "best",
            "average": self.average is not None,
            "select_on = val": self.select_on == "val",
            "optim.schedule = plateau": self.optim.schedule == "plateau",
        }
        for name, used in needed.items():
            if used and self.evaluate != "epoch":
                raise ValueError(f'{name} needs evaluate = "epoch"')
        if self.optim.published_warmup and self.batch_size < _LEAST_WARMUP_BATCH:
            raise ValueError(
                "the published warm-up never leaves 0 with a batch_size below "
                f"{_LEAST_WARMUP_BATCH} (got {self.batch_size})"
            )
        if self.average and self.select == "best":
            raise ValueError(
                'average reports a mean of epochs, and select = "best" one: choose one'
            )
        if self.micro_batch and self.micro_batch > self.batch_size:
            raise ValueError(
                f"micro_batch = {self.micro_batch} is more than a batch of {self.batch_size}"
            )
        if self.average and self.epochs:
            first, last = self.average
            if not 1 <= first <= last <= self.epochs:
                raise ValueError(
                    f"average = [{first}, {last}] is no range in epochs 1 to {self.epochs}"
                )
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The canonical form of everything that decides the result."""
        return canonical(self, exclude={"title": True, **self.SPEED})

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of `settings`.

        The name counts under its first key and version 1 is left out, so that the fingerprints of
        existing runs stay.
        """
        form = {**self.settings, "recipe": self.name}
        del form["name"]
        return digest(form if TRAINER_VERSION == "1" else {**form, "trainer": TRAINER_VERSION})

    def other_settings(self, folder: Path, recorded: dict[str, Any]) -> UserError:
        """Return the error for a folder whose run has another fingerprint, naming what differs.

        Args:
            folder: The run's folder.
            recorded: What the run wrote; its key `config` is the configuration as JSON.
        """
        try:
            old = self.recorded(recorded.get("config", {})).settings
        except ValidationError:  # written by a version with other keys
            old = recorded.get("config", {})
        changed = "; ".join(differences(old, self.settings)) or "the trainer's version"
        return UserError(f"{folder} holds a run with other settings: {changed}; give another --out")

    def recorded(self, table: dict[str, Any]) -> Self:
        """Return a configuration that an earlier run wrote."""
        return self.model_validate(table)


class Config(RunConfig):
    """One training run.

    Attributes:
        system: Name of the model with its objective and scores, or `module:NAME`.
        method: Name of a continual-learning method, or `module:Class`.
        options: The method's own settings.
        avm_init: Weights of the matching module to start from.
        ties: How retrieval ranks equal similarities (bug B22).
        objective: The system's own settings.
    """

    system: Annotated[str, AddedWith("cavmae")] = "cavmae"
    method: str = "finetune"
    options: dict[str, Any] | SerializeAsAny[BaseModel] = Field(default={})
    avm_init: str | None = None
    ties: Literal["worst", "published"] = "worst"
    objective: Annotated[NoSettings, AddedWith(NoSettings())] = NoSettings()

    def recorded(self, table: dict[str, Any]) -> Self:
        """Return a configuration that an earlier run wrote, with its options validated."""
        old = super().recorded(table)
        if isinstance(self.options, BaseModel) and old.method == self.method:
            return old.model_copy(update={"options": self.options.model_validate(old.options)})
        return old


def parse_config(table: dict[str, Any]) -> Config:
    """Return the configuration of a table, whose sections are those of its system.

    Raises:
        UserError: The system does not exist.
        ValidationError: A setting is wrong.
    """
    return config_class(table).model_validate(table)


def config_class(table: dict[str, Any]) -> type[Config]:
    """Return the class of configurations of a table's system; `Config` itself is CAV-MAE's.

    Raises:
        UserError: The system does not exist.
    """
    name = str(table.get("system", "cavmae"))
    return Config if name == "cavmae" else _class_of(Config, name)


@cache  # so that equal configurations are of one class
def _class_of(base: type[Config], name: str) -> type[Config]:
    system: Any = find_system(name)
    return create_model(
        "Config",
        __base__=base,
        __doc__=base.__doc__,
        model=(system.model, system.model()),
        objective=(system.objective, system.objective()),
    )


def config_names(folder: Path = CONFIGS) -> list[str]:
    """Return the names of the configurations in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_config(config: str, overrides: dict[str, Any], sets: list[str]) -> Config:
    """Load a configuration.

    Args:
        config: Its name, or the path of a .toml.
        overrides: Values of top-level keys; None leaves a key alone. With another
            method than the configuration's, only `memory_size` of the options is kept.
        sets: Settings as `key.key=value`, applied last.

    Raises:
        UserError: Naming the configuration, the key and what is allowed.
    """
    table = read_config(config)
    method = overrides.get("method")
    if method is not None and method != table.get("method"):
        kept = table.get("options", {}).get("memory_size")
        table["options"] = {} if kept is None else {"memory_size": kept}
    apply_overrides(table, overrides, sets)
    kind = config_class(table)
    if table.get("fidelity") == "published":
        published = PUBLISHED.get(table.get("system", "cavmae"), {})
        set_defaults(table, dict(published.values()))
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise UserError(f"config {config!r}: {validation_message(error, kind)}") from error


def set_defaults(table: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set the dotted keys of a table that it does not have."""
    for key, value in values.items():
        *parents, last = key.split(".")
        place = table
        for parent in parents:
            place = place.setdefault(parent, {})
        place.setdefault(last, value)


def apply_overrides(table: dict[str, Any], overrides: dict[str, Any], sets: list[str]) -> None:
    """Put overrides (None: not given) and then `key.key=value` settings into a table."""
    table.update({key: value for key, value in overrides.items() if value is not None})
    for text in sets:
        _set(table, text)


def validation_message(error: ValidationError, model: type[BaseModel]) -> str:
    """Return a validation error as one line: key, reason and value, or the nearest key.

    Args:
        error: The error.
        model: The model that was validated.
    """
    return "; ".join(
        f"{'.'.join(map(str, e['loc']))}: {_reason(e, model)}" if e["loc"] else _words(e["msg"])
        for e in error.errors()
    )


def _words(message: str) -> str:
    """Return the message of a check of several keys, without pydantic's word before it."""
    return message.removeprefix("Value error, ")


def _reason(error: Any, model: type[BaseModel]) -> str:
    """Return what is wrong with a value or key, and what is expected."""
    if error["type"] != "extra_forbidden":
        return f"{_words(error['msg'])} (got {error['input']!r})"
    *parents, key = map(str, error["loc"])
    section: Any = model
    for parent in parents:
        section = section.model_fields[parent].annotation
    known = sorted(section.model_fields)
    names = ", ".join(known)
    if found := [f"{name}.{key}" for name in known if key in _keys(section, name)]:
        return f"there is no such setting; there is {found[0]}"
    return f"there is no such setting{did_you_mean(key, known)}; there are: {names}"


def _keys(section: type[BaseModel], name: str) -> Iterable[str]:
    """Return the keys of a section's section; none if it is a value."""
    return getattr(section.model_fields[name].annotation, "model_fields", ())


# Configs that extend each other in a circle end here.
_MAX_EXTENDS = 8


def read_config(config: str, folder: Path = CONFIGS, depth: int = 0) -> dict[str, Any]:
    """Return the table of a configuration, merged over the one that it `extends`.

    Raises:
        UserError: The configuration does not exist or is not TOML.
    """
    path = Path(config) if config.endswith(".toml") else folder / f"{config}.toml"
    if not path.is_file():
        known = config_names(folder)
        names, hint = ", ".join(known), did_you_mean(config, known)
        raise UserError(
            f"no config {config!r}{hint}; there are: {names}, or give the path of a .toml"
        )
    try:
        table = read_toml(path)
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    parent = table.pop("extends", None)
    if parent and (depth == _MAX_EXTENDS or not isinstance(parent, str)):
        raise UserError(f"{path} extends {parent!r}, which leads back to it or is no name")
    merged = _merge(read_config(parent, folder, depth + 1), table) if parent else table
    return {**merged, "name": path.stem}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    other_method = over.get("method", base.get("method")) != base.get("method")
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        if key == "options" and other_method:  # one method's options mean nothing to another
            both = False
        merged[key] = _merge(merged[key], value) if both else value
    if other_method and "options" not in over:
        merged.pop("options", None)
    return merged


def _set(table: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r} is not key=value, for example optim.lr=1e-4")
    *parents, last = key.strip().split(".")
    place = table
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {text!r}: {parent!r} is a value, not a section")
    place[last] = _value(value.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None if text.lower() == "none" else text
