"""Every dataset by name."""

import difflib

from av_datasets.spec import DatasetSpec
from av_datasets.vggsound import VGGSOUND

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in (VGGSOUND,)}


class UnknownDatasetError(LookupError):
    """A dataset name that is not in the registry; says which are."""

    def __str__(self) -> str:
        return str(self.args[0])


def get(name: str) -> DatasetSpec:
    """The dataset called `name`. Raises UnknownDatasetError naming the nearest one."""
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name.lower(), DATASETS, n=1, cutoff=0.0)
    raise UnknownDatasetError(
        f"unknown dataset {name!r}; did you mean {near[0]!r}? (there are: {', '.join(DATASETS)})"
    )
