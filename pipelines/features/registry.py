"""Find extractors by name: avstore's own, those of installed packages, and `module:name`."""

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any

from avstore.datasets.references import load_object
from avstore.manifests.nearest import did_you_mean
from avstore.manifests.stored_clips import BASE_FEATURES
from avstore.pipelines.features.extractor import Extractor, FeatureError

EXTRACTOR_GROUP = "avstore.extractors"
_OWN = {
    "clip-vitl14": "clip:ClipImage",
    "clip-vitl14-text": "clip:ClipText",
    "clap-segments": "clap:ClapSegments",
    "clap-map": "clap:ClapMap",
    "clap-text": "clap:ClapText",
    "vggish": "vggish:Vggish",
    "resnet152": "resnet152:ResNet152",
    "r2plus1d18": "r2plus1d:R2Plus1D18",
    "convnext-visual": "convnext:ConvNextVisual",
    "convnext-audio": "convnext:ConvNextAudio",
    "valor-clip-labels": "valor:ValorClipLabels",
    "valor-clap-labels": "valor:ValorClapLabels",
    "segmentation": "panoptic:PanopticLabels",
}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def references() -> dict[str, str]:
    """Return `module:name` of every known extractor by its name; avstore's own take precedence."""
    own = {name: f"avstore.pipelines.features.extractors.{where}" for name, where in _OWN.items()}
    return {point.name: point.value for point in entry_points(group=EXTRACTOR_GROUP)} | own


def make_extractor(
    name_or_reference: str, parameters: Mapping[str, Any] | None = None
) -> Extractor:
    """Build an extractor.

    Args:
        name_or_reference: A known name, or `module:name`.
        parameters: Values by parameter; text is converted to the parameter's type.

    Raises:
        FeatureError: No such extractor or parameter, or the object is not an extractor.
    """
    known = references()
    reference = known.get(name_or_reference, name_or_reference)
    if ":" not in reference:
        raise FeatureError(
            f"no extractor {name_or_reference!r}{did_you_mean(name_or_reference, known)}; "
            f"choose one of {', '.join(sorted(known))}, "
            "or give your own as module:name"
        )
    try:
        maker = load_object(reference)
    except LookupError as error:
        raise FeatureError(str(error)) from error
    if not callable(maker):
        raise FeatureError(
            f"{reference} is of type {type(maker).__name__}: an extractor class is expected"
        )
    extractor = maker(**_typed(maker, dict(parameters or {}), name_or_reference))
    if not isinstance(extractor, Extractor):
        lacking = [name for name in _members() if not hasattr(extractor, name)]
        raise FeatureError(f"{reference} is not an extractor: it lacks {', '.join(lacking)}")
    check_feature_name(extractor.name, f"{reference}: ")
    return extractor


def check_feature_name(name: str, where: str = "") -> None:
    """Raise FeatureError unless the name is one of a derived feature."""
    if not _NAME.fullmatch(name):
        raise FeatureError(f"{where}the name {name!r} may hold only lower case, digits and '-'")
    if name in BASE_FEATURES:
        raise FeatureError(f"{where}{name!r} is the name of a base feature; choose another one")


def _members() -> list[str]:
    """Return the names that an extractor must have."""
    return [*Extractor.__annotations__, "shape", "dtype", "items", "load", "value"]


def _typed(maker: Any, parameters: dict[str, Any], name: str) -> dict[str, Any]:
    """Convert parameters given as text to the types of the dataclass's fields."""
    known = (
        {field.name: field for field in fields(maker)}
        if hasattr(maker, "__dataclass_fields__")
        else {}
    )
    typed = {}
    for key, value in parameters.items():
        if key not in known:
            raise FeatureError(
                f"{name} has no parameter {key!r}; it has {', '.join(known) or 'none'}"
            )
        typed[key] = _convert(key, value, known[key].default)
    return typed


def _convert(key: str, value: Any, default: Any) -> Any:
    """Convert text to the type of a parameter's default."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        return type(default)(value)
    except (KeyError, ValueError, TypeError) as error:
        raise FeatureError(f"{key}={value!r} is not of type {type(default).__name__}") from error
