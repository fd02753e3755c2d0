"""Every dataset by name, and the task streams that are shipped with them."""

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.resources import files

from avstore.datasets.audioset import AUDIOSET
from avstore.datasets.ave import AVE
from avstore.datasets.avs import AVS
from avstore.datasets.llp import LLP
from avstore.datasets.msrvtt import MSRVTT
from avstore.datasets.spec import DatasetSpec, check_key
from avstore.datasets.vggsound import VGGSOUND

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec for spec in (VGGSOUND, AUDIOSET, MSRVTT, AVE, AVS, LLP)
}


GROUP = "avstore.datasets"


def names() -> tuple[str, ...]:
    """Ours, then those of installed packages."""
    offered = {point.name for point in entry_points(group=GROUP)}
    return (*DATASETS, *sorted(offered - DATASETS.keys()))


def get(name: str) -> DatasetSpec:
    """The dataset called `name`: avstore's own, an installed package's, or `module:NAME`.

    Raises LookupError naming the nearest one, or why `module:NAME` is none.
    """
    if name in DATASETS:
        return DATASETS[name]
    offered = {point.name: point.value for point in entry_points(group=GROUP)}
    reference = offered.get(name, name)
    if ":" not in reference:
        raise _unknown("dataset", name, names())
    return _load(reference)


def _load(reference: str) -> DatasetSpec:
    """A dataset of somebody else's. It cannot take over a name of ours."""
    module, _, attribute = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a module beside the person, as `python -m` would find it
    try:
        spec = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise LookupError(f"the dataset {reference!r} cannot be loaded: {error}") from error
    if not isinstance(spec, DatasetSpec):
        raise LookupError(
            f"{reference} is a {type(spec).__name__} and no avstore.datasets.spec.DatasetSpec"
        )
    if spec.name in DATASETS or check_key(spec.name):
        raise LookupError(
            f"{reference} is named {spec.name!r}: a name of its own is wanted, of letters, "
            "digits, '-' and '_'"
        )
    return spec


def stream_names() -> tuple[str, ...]:
    """The shipped task streams, sorted."""
    folder = files("avstore.datasets").joinpath("streams")
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def stream_text(name: str) -> str:
    """The TOML of a shipped task stream. Raises LookupError naming the nearest one."""
    if name not in stream_names():
        raise _unknown("task stream", name, stream_names())
    return files("avstore.datasets").joinpath("streams", f"{name}.toml").read_text(encoding="utf-8")


def _unknown(kind: str, name: str, known: Iterable[str]) -> LookupError:
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.0)
    return LookupError(
        f"there is no {kind} {name!r}; did you mean {near[0]!r}? (all: {', '.join(known)})"
    )
