"""Find datasets by name, and the task streams that are shipped with them.

A dataset of avstore is a module of this package with a DatasetSpec of the module's name: adding the
file registers it.
"""

import difflib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pkgutil import iter_modules

from avstore import datasets
from avstore.datasets.references import load_object
from avstore.datasets.spec import DatasetSpec, check_key

GROUP = "avstore.datasets"


def own_names() -> tuple[str, ...]:
    """Return the names of avstore's own datasets, sorted."""
    return tuple(spec.name for module in _modules() if (spec := _spec_of(module)))


def names() -> tuple[str, ...]:
    """Return the names of avstore's own datasets, then of those in installed packages."""
    own = own_names()
    offered = {point.name for point in entry_points(group=GROUP)}
    return (*own, *sorted(offered.difference(own)))


def is_own(name: str) -> bool:
    """Return whether avstore itself has a dataset of this name."""
    return _own(name) is not None


def get(name: str) -> DatasetSpec:
    """Return a dataset; only its own module is imported.

    Args:
        name: A dataset of avstore or of an installed package, or `module:NAME`.

    Raises:
        LookupError: No such dataset; the message names the nearest one, or says why `module:NAME`
            is not a dataset.
    """
    if own := _own(name):
        return own
    offered = {point.name: point.value for point in entry_points(group=GROUP)}
    reference = offered.get(name, name)
    if ":" not in reference:
        raise _unknown("dataset", name, names())
    return _load(reference)


def stream_names() -> tuple[str, ...]:
    """Return the names of the shipped task streams, sorted."""
    folder = files(datasets).joinpath("streams")
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def stream_text(name: str) -> str:
    """Return the TOML of a shipped task stream.

    Raises:
        LookupError: No such stream; the message names the nearest one.
    """
    if name not in stream_names():
        raise _unknown("task stream", name, stream_names())
    return files(datasets).joinpath("streams", f"{name}.toml").read_text(encoding="utf-8")


def _modules() -> list[str]:
    return sorted(module.name for module in iter_modules(datasets.__path__) if not module.ispkg)


def _own(name: str) -> DatasetSpec | None:
    module = name.replace("-", "_")
    return _spec_of(module) if module in _modules() else None


def _spec_of(module: str) -> DatasetSpec | None:
    """Return the DatasetSpec that has the module's name; None for a module that is no dataset."""
    contents = vars(import_module(f"{datasets.__name__}.{module}")).values()
    specs = (each for each in contents if isinstance(each, DatasetSpec))
    return next((spec for spec in specs if spec.name.replace("-", "_") == module), None)


def _load(reference: str) -> DatasetSpec:
    """Return a dataset from outside avstore; it may not take the name of one of avstore's."""
    spec = load_object(reference)
    if not isinstance(spec, DatasetSpec):
        raise LookupError(
            f"{reference} is a {type(spec).__name__}, not an avstore.datasets.spec.DatasetSpec"
        )
    if is_own(spec.name) or check_key(spec.name):
        raise LookupError(
            f"{reference} has the name {spec.name!r}; choose a name that avstore does not use, of "
            "letters, digits, '-' and '_'"
        )
    return spec


def _unknown(kind: str, name: str, known: Iterable[str]) -> LookupError:
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.0)
    return LookupError(
        f"there is no {kind} {name!r}; did you mean {near[0]!r}? (all: {', '.join(known)})"
    )
