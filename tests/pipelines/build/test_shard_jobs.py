"""Masks of AVSBench become members of its shards, and the loader returns them per second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avstore.datasets.avs import AVS
from avstore.manifests.catalogue import open_read
from avstore.manifests.library import open_store
from avstore.manifests.store import Store
from avstore.manifests.verify import verify
from avstore.pipelines.build.driver import BuildOptions, build
from avstore.pipelines.extract.recipe import load_recipe
from avstore.train.data import BatchSpec, Loader, sample_list
from avstore.train.data import open_store as open_shards
from tests.media import make_clip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two S4 clips: one with its five masks in the published folder, one without."""
    folder = tmp_path_factory.mktemp("avs")
    (folder / "s4_meta_data.csv").write_text(
        "name,start_time,category,split\naa_1,30,helicopter,test\nbb_1,1,helicopter,test\n"
    )
    for seed, name in enumerate(("aa_1", "bb_1")):
        place = folder / "AVSBench/s4_data/raw_videos/test/helicopter" / f"{name}.mp4"
        make_clip(place, 10.0, seed=seed)
    masks = folder / "AVSBench/s4_data/gt_masks/test/helicopter/aa_1"
    masks.mkdir(parents=True)
    for frame in range(1, 6):
        Image.fromarray(mask(frame)).save(masks / f"aa_1_{frame}.png")
    options = BuildOptions(
        folder / "data", str(folder / "AVSBench"), (folder / "s4_meta_data.csv",), workers=1
    )
    build(AVS, load_recipe(AVS.recipe), options)
    return folder / "data"


def mask(frame: int) -> np.ndarray:
    """The object fills the left part, growing by the second."""
    pixels = np.zeros((60, 80), np.uint8)
    pixels[:, : 10 * frame] = 255
    return pixels


def test_masks_are_members_byte_for_byte(store: Path) -> None:
    with open_store(str(store)) as opened:
        found = opened.sample("avs/aa_1").members
        without = opened.sample("avs/bb_1").members
    assert [name for name in found if name.startswith("mask_")] == [
        f"mask_{second}.png" for second in range(5)
    ]
    source = store.parent / "AVSBench/s4_data/gt_masks/test/helicopter/aa_1/aa_1_3.png"
    assert found["mask_2.png"] == source.read_bytes()
    assert not [name for name in without if name.startswith("mask_")]
    with open_read(Store(store)) as con:
        assert list(verify(con, Store(store))) == []


def test_loader_returns_masks_per_second(store: Path) -> None:
    samples = sample_list(open_shards(store), "SELECT clip_id FROM trainable")
    spec = BatchSpec(
        batch_size=2, frames=1, image_size=40, fbank_frames=16, segments=5, random=False,
        read=("video", "masks"),
    )  # fmt: skip
    (batch,) = Loader(samples, spec)
    assert batch.masks.shape == (2, 5, 40, 40)
    assert batch.mask_known.tolist() == [[True] * 5, [False] * 5]
    shares = (batch.masks[0] > 0).float().mean((1, 2))
    np.testing.assert_allclose(shares, np.arange(1, 6) / 8, atol=0.02)
