"""Small stores of LLP's clips with imported features, and no videos."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avstore.datasets.registry import get
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature

CLIPS = {"aaaaaaaaaaa_0_10": "Dog", "bbbbbbbbbbb_10_20": "Dog,Cat", "ccccccccccc_20_30": "Cat"}


def write_list(folder: Path) -> Path:
    """Write the annotations of three clips of the split train."""
    path = folder / "AVVP_train.csv"
    rows = [f"{name}\t{labels}" for name, labels in CLIPS.items()]
    path.write_text("\n".join(["filename\tevent_labels", *rows]) + "\n")
    return path


def imported(folder: Path, feature: str, values: Mapping[str, np.ndarray]) -> Path:
    """Import a feature of some clips, by name; return the store."""
    place = folder / f"arrays-{feature}"
    place.mkdir()
    for name, value in values.items():
        np.save(place / f"{name}.npy", value)
    options = FeatureImportOptions(feature, [str(place)], annotations=[write_list(folder)])
    import_feature(Store(folder / "store"), get("llp"), options)
    return folder / "store"
