"""Stores of made-up panoramas with label maps, which the command imports as released."""

import io
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from avstore.datasets.spec import MediaName
from avstore.datasets.yt360 import YT360
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from tests.train.systems.avsa import made_up

CAR, SKY = 2, 120
TOY = replace(YT360, name="toy", media_names=lambda clip: (MediaName(clip.key),), streams=())


def labelled_store(
    folder: Path,
    clips: int = 16,
    without: Collection[int] = (),
    unstored: Collection[int] = (),
) -> Path:
    """Write a store whose clips have label maps, but for some: cars where squares are, and sky."""
    store = made_up.made_up_store(folder, clips, unstored=unstored)
    maps = folder / "segmentation"
    for number in set(range(clips)) - set(without):
        write_maps(maps / f"k{number:05d}", number)
    import_feature(Store(store), TOY, FeatureImportOptions("segmentation", [str(maps)]))
    return store


def write_maps(folder: Path, number: int) -> None:
    """Write a clip's maps: things and stuff, four a second."""
    folder.mkdir(parents=True)
    planes, _ = made_up.panorama(number)
    every = int(made_up.RATE) // 4
    for place, (luma, *_) in enumerate(planes[::every]):
        things = np.where(luma > 80, CAR, 80).astype(np.uint8)
        for kind, labels in (("things", things), ("stuff", np.full_like(luma, SKY - 80))):
            content = io.BytesIO()
            Image.fromarray(labels).save(content, "PNG")
            (folder / f"{kind}-{place:04d}.png").write_bytes(content.getvalue())
