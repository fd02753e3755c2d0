"""The datasets by name, and the task streams that are shipped with them."""

import difflib
from importlib.resources import files

from av_datasets.spec import DatasetSpec
from av_datasets.vggsound import VGGSOUND

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in (VGGSOUND,)}


def get(name: str) -> DatasetSpec:
    """The dataset of this name. Raises LookupError naming the nearest known one."""
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, 1, 0.0)[0]
    raise LookupError(
        f"there is no dataset {name!r}; the nearest is {near!r} (all: {', '.join(DATASETS)})"
    )


def stream_text(name: str) -> str:
    """The TOML of a shipped task stream. Raises LookupError naming those there are."""
    folder = files("av_datasets").joinpath("streams")
    known = sorted(path.name.removesuffix(".toml") for path in folder.iterdir())
    if name not in known:
        raise LookupError(f"there is no task stream {name!r} (all: {', '.join(known)})")
    return folder.joinpath(f"{name}.toml").read_text()
