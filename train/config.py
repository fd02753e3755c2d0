"""A training recipe: a TOML file, checked, every value of which a person can override."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.store import StoreError
from train.models.config import ModelConfig


class TrainConfig(BaseModel):
    """How a run trains. epochs: passes over a task; lr, betas, weight_decay: of Adam."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(48, ge=2)
    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.95, 0.999)
    weight_decay: float = Field(5e-7, ge=0)
    clip_grad: float | None = None
    noise: bool = True
    workers: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()


def recipe_names() -> list[str]:
    """The recipes that are shipped."""
    folder = files("train").joinpath("recipes")
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if ".toml" in p.name)


def load_config(name: str, overrides: list[str]) -> TrainConfig:
    """A shipped recipe or a TOML file, with KEY=VALUE overrides (dots reach into [model]).

    Raises StoreError naming the key, the value, and what is allowed.
    """
    path = Path(name)
    if name in recipe_names():
        text = files("train").joinpath(f"recipes/{name}.toml").read_text()
    elif path.suffix == ".toml" and path.is_file():
        text = path.read_text()
    else:
        raise StoreError(
            f"there is no training recipe {name!r}: name one of {', '.join(recipe_names())}, "
            "or a TOML file"
        )
    try:
        values = tomllib.loads(text)
        for word in overrides:
            _override(values, word)
        return TrainConfig.model_validate(values)
    except tomllib.TOMLDecodeError as error:
        raise StoreError(f"recipe {name} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the recipe"
        raise StoreError(f"recipe {name}: {where} = {first['input']!r}: {first['msg']}") from error


def _override(values: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals:
        raise StoreError(f"--set {word!r} is not KEY=VALUE")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value
