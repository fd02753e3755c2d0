"""Give each of several features its parameters and weights: --set and --weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avstore.manifests.store import StoreError
from avstore.pipelines.cli.options import local_path

if TYPE_CHECKING:
    from avstore.pipelines.features.driver import FeatureOptions

Job = tuple[str, "FeatureOptions"]


@dataclass(frozen=True)
class Settings:
    """Hold the texts of --set and --weights.

    Attributes:
        parameters: NAME=VALUE, or FEATURE.NAME=VALUE for one of several features.
        weights: PATH, or FEATURE=PATH for one of several features.
        features: The features of the call.
        is_set: Whether the features are those of --for, of which each takes what it knows.
    """

    parameters: Sequence[str]
    weights: Sequence[str]
    features: Sequence[str]
    is_set: bool = False

    def __post_init__(self) -> None:
        """Check the form of each text.

        Raises:
            StoreError: A text names no feature of the call, or fits several where it must not.
        """
        for text in self.parameters:
            if "=" not in text:
                raise StoreError(f"--set {text!r} is not NAME=VALUE")
        if self.is_set:
            self._check_set()

    def options(self, feature: str, base: "FeatureOptions") -> "FeatureOptions":
        """Return the options of one feature."""
        return replace(base, parameters=self._parameters(feature), weights=self._weights(feature))

    def _check_set(self) -> None:
        from avstore.pipelines.features.extractor import parameter_names
        from avstore.pipelines.features.registry import make_extractor

        names = ", ".join(self.features)
        for text in self.weights:
            if self._split_weights(text)[0] is None:
                raise StoreError(
                    f"--weights {text} does not say which feature it is for; give "
                    f"--weights FEATURE={text}, with one of {names}"
                )
        known = {x for name in self.features for x in parameter_names(make_extractor(name))}
        for feature, name, _ in map(self._split_parameter, self.parameters):
            if feature is None and name not in known:
                raise StoreError(
                    f"--set {name}=… is a parameter of none of {names}; they have "
                    f"{', '.join(sorted(known))}"
                )

    def _parameters(self, feature: str) -> dict[str, str]:
        from avstore.pipelines.features.extractor import parameter_names
        from avstore.pipelines.features.registry import make_extractor

        taken = parameter_names(make_extractor(feature)) if self.is_set else None
        general, own = {}, {}
        for of, name, value in map(self._split_parameter, self.parameters):
            if of == feature:
                own[name] = value
            elif of is None and (taken is None or name in taken):
                general[name] = value
        return general | own

    def _split_parameter(self, text: str) -> tuple[str | None, str, str]:
        """Return the feature that a text names, the parameter, and its value."""
        name, _, value = text.partition("=")
        feature, mark, rest = name.rpartition(".")
        if mark and feature not in self.features:
            raise StoreError(
                f"--set {text!r}: {feature!r} is not one of the features {', '.join(self.features)}"
            )
        return (feature, rest, value) if mark else (None, name, value)

    def _weights(self, feature: str) -> Path | None:
        """Return the weights of a feature: its own before the general ones."""
        found = dict(self._weights_by_feature())
        return found.get(feature, found.get(None))

    def _weights_by_feature(self) -> Iterator[tuple[str | None, Path]]:
        for text in self.weights:
            feature, path = self._split_weights(text)
            yield feature, local_path(path)

    def _split_weights(self, text: str) -> tuple[str | None, str]:
        """Return the feature that a text names, None without any, and the path."""
        feature, mark, path = text.partition("=")
        return (feature, path) if mark and feature in self.features else (None, text)
