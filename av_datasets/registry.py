"""Every dataset by name, and the task streams that are shipped with them."""

import difflib
from collections.abc import Iterable
from importlib.resources import files

from av_datasets.audioset import AUDIOSET
from av_datasets.ave import AVE
from av_datasets.avs import AVS
from av_datasets.llp import LLP
from av_datasets.msrvtt import MSRVTT
from av_datasets.spec import DatasetSpec
from av_datasets.vggsound import VGGSOUND

DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec for spec in (VGGSOUND, AUDIOSET, MSRVTT, AVE, AVS, LLP)
}


def get(name: str) -> DatasetSpec:
    """The dataset called `name`. Raises LookupError naming the nearest one."""
    if name not in DATASETS:
        raise _unknown("dataset", name, DATASETS)
    return DATASETS[name]


def stream_names() -> tuple[str, ...]:
    """The shipped task streams, sorted."""
    folder = files("av_datasets").joinpath("streams")
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def stream_text(name: str) -> str:
    """The TOML of a shipped task stream. Raises LookupError naming the nearest one."""
    if name not in stream_names():
        raise _unknown("task stream", name, stream_names())
    return files("av_datasets").joinpath("streams", f"{name}.toml").read_text(encoding="utf-8")


def _unknown(kind: str, name: str, known: Iterable[str]) -> LookupError:
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.0)
    return LookupError(
        f"there is no {kind} {name!r}; did you mean {near[0]!r}? (all: {', '.join(known)})"
    )
