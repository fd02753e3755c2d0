"""Published systems, one package each: model, objective, weights, scores.

A config names its system: one of `SYSTEMS`, or your own as `module:NAME`, where NAME is a `System`.
A `System` names a module with

    batch_spec(config, training) -> BatchSpec
    build(config, training_spec, evaluation_spec) -> Objective
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from avstore.datasets.references import load_object
from avstore.manifests.nearest import did_you_mean
from avstore.train.errors import UserError
from avstore.train.systems.avsa.model_config import ActionConfig, AVSAConfig
from avstore.train.systems.avsa.settings import (
    ActionSettings,
    AVSASettings,
    PairSettings,
    SegmentationSettings,
)
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.convnext.model_config import ConvNextConfig
from avstore.train.systems.convnext.settings import ConvNextSettings
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.settings import UAVMSettings
from avstore.train.systems.valor.model_config import ValorConfig
from avstore.train.systems.valor.settings import EventSettings, ValorSettings

ModelSection = TypeVar("ModelSection", bound=BaseModel)
ObjectiveSection = TypeVar("ObjectiveSection", bound=BaseModel)


class NoSettings(BaseModel, extra="forbid", frozen=True):
    """The section `objective` of a system that has no settings beside its model's."""


@dataclass(frozen=True)
class System:
    """A system by its parts.

    Attributes:
        model: Section `model` of its configs.
        objective: Section `objective` of its configs.
        module: Name of the module with its `batch_spec` and `build`.
        roles: Roles of a stream's clips that are scored: the first that has any.
        unused: Keys of the section `data` that mean nothing to it.
        segments: Segment labels that its scores, and batches with labels of segments, need, as
            `sample_list` takes them; None for none.
    """

    model: type[BaseModel]
    objective: type[BaseModel]
    module: str
    roles: tuple[str, ...] = ("retrieval", "eval")
    unused: tuple[str, ...] = ()
    segments: str | None = None

    def batch_spec(self, config: Any, *, training: bool) -> Any:
        """Return what the loader must deliver, a BatchSpec."""
        return load_object(f"{self.module}:batch_spec")(config, training=training)

    def build(self, config: Any, training: Any, evaluation: Any) -> Any:
        """Return its Objective with new weights, for the batches of two specs."""
        return load_object(f"{self.module}:build")(config, training, evaluation)


# Features are taken as they are stored.
_NO_VALOR_INPUT = (
    *("finish", "noise", "seconds", "mean", "std", "crop", "frame_choice", "statistics"),
    *("freq_mask", "time_mask", "mixup", "mixup_domain", "mixup_beta", "smoothing", "roll"),
    *("feature_roll", "feature_norm"),
)

# Input is as the published networks see it: views of panoramas with their sound.
_NO_VIEWS_INPUT = (
    *("finish", "noise", "mean", "std", "crop", "frame_choice", "statistics", "freq_mask"),
    *("time_mask", "mixup", "mixup_domain", "mixup_beta", "smoothing", "roll", "feature_roll"),
    "feature_norm",
)

SYSTEMS: Mapping[str, System] = {
    "avsa": System(
        AVSAConfig,
        AVSASettings,
        "avstore.train.systems.avsa.system",
        roles=("eval", "retrieval"),
        unused=_NO_VIEWS_INPUT,
    ),
    "avsa_pairs": System(
        AVSAConfig,
        PairSettings,
        "avstore.train.systems.avsa.pairs",
        roles=("eval", "retrieval"),
        unused=_NO_VIEWS_INPUT,
    ),
    "avsa_segmentation": System(
        AVSAConfig,
        SegmentationSettings,
        "avstore.train.systems.avsa.segmentation",
        roles=("eval", "retrieval"),
        unused=_NO_VIEWS_INPUT,
    ),
    "avsa_action": System(
        ActionConfig,
        ActionSettings,
        "avstore.train.systems.avsa.action",
        roles=("eval", "retrieval"),
        unused=(*_NO_VIEWS_INPUT, "seconds"),
    ),
    "cavmae": System(
        ModelConfig,
        NoSettings,
        "avstore.train.systems.cavmae.system",
        unused=("mixup", "mixup_domain", "mixup_beta", "smoothing", "feature_roll", "feature_norm"),
    ),
    "uavm": System(
        UAVMConfig,
        UAVMSettings,
        "avstore.train.systems.uavm.system",
        roles=("eval", "retrieval"),
        unused=(
            *("finish", "noise", "seconds", "mean", "std", "crop", "frame_choice", "statistics"),
            *("freq_mask", "time_mask", "mixup_domain", "roll"),
        ),
    ),
    "convnext": System(
        ConvNextConfig,
        ConvNextSettings,
        "avstore.train.systems.convnext.system",
        roles=("eval", "retrieval"),
        unused=("crop", "seconds", "frame_choice", "feature_roll", "feature_norm"),
    ),
    "valor": System(
        ValorConfig,
        ValorSettings,
        "avstore.train.systems.valor.system",
        roles=("eval", "retrieval"),
        unused=_NO_VALOR_INPUT,
        segments="apart",
    ),
    "valor_events": System(
        ValorConfig,
        EventSettings,
        "avstore.train.systems.valor.event_system",
        roles=("eval", "retrieval"),
        unused=_NO_VALOR_INPUT,
        segments="both",
    ),
}


def sections(
    config: Any, model: type[ModelSection], objective: type[ObjectiveSection]
) -> tuple[ModelSection, ObjectiveSection]:
    """Return the sections `model` and `objective` of a system's config.

    Args:
        config: A config of the system.
        model: Type of the model's shape.
        objective: Type of the objective's settings.

    Raises:
        TypeError: The config is another system's.
    """
    shape, settings = config.model, config.objective
    if not (isinstance(shape, model) and isinstance(settings, objective)):
        raise TypeError(f"{type(shape).__name__} is no {model.__name__}")
    return shape, settings


def find_system(name: str) -> System:
    """Return a system by its name, or your own as `module:NAME`.

    Raises:
        UserError: It does not exist.
    """
    if ":" not in name:
        if name in SYSTEMS:
            return SYSTEMS[name]
        known = ", ".join(SYSTEMS)
        raise UserError(
            f"no system {name!r}{did_you_mean(name, SYSTEMS)}; there are: {known}, or give "
            "module:NAME"
        )
    try:
        found = load_object(name)
    except LookupError as error:
        raise UserError(f"system {error}") from error
    if not isinstance(found, System):
        raise UserError(f"system {name}: it is no avstore.train.systems.System")
    return found
