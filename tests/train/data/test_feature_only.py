"""Load clips that have imported features and no base shard."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avstore.datasets.registry import get
from avstore.manifests.library import OpenStore, open_store
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from avstore.train.data import Augment, BatchSpec, Loader, Turns, sample_list
from tests.pipelines.interchange import released
from tests.train.data.store_factory import make_store

BOTH = ("convnext-audio", "convnext-visual")
TRAINABLE = "SELECT clip_id FROM trainable"


def visual(number: int) -> np.ndarray:
    """Return a clip's array of 28 to 31 frames, (n, 1024) float16."""
    rows = 28 + number % 4
    return np.random.default_rng(number).standard_normal((rows, 1024)).astype(np.float16)


def import_to(store: Path, feature: str, arrays: dict[int, np.ndarray], **options: object) -> None:
    files = {f"{released.KEYS[n]}.npy": released.npy(array) for n, array in arrays.items()}
    folder = released.write_folder(store.parent / f"{store.name}-{feature}", files)
    listed = released.write_list(store.parent)
    chosen = FeatureImportOptions(feature, [str(folder)], annotations=[listed], **options)
    import_feature(Store(store), get("vggsound"), chosen)


@pytest.fixture
def opened(tmp_path: Path) -> OpenStore:
    """A store of audio features of eight clips and visual ones of nine, seven of them the same."""
    store = tmp_path / "store"
    import_to(store, BOTH[0], {n: released.value(n) for n in range(8)}, shard_clips=3)
    import_to(store, BOTH[1], {n: visual(n) for n in range(1, 10)})
    return open_store(store)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_arrays_labels_and_splits_back(
    opened: OpenStore, workers: int
) -> None:
    samples = sample_list(opened, f"{TRAINABLE} WHERE split = 'train'", features=BOTH)
    numbers = [n for n in (1, 2, 3, 7) if released.ROWS[n][3] == "train"]
    assert samples.clip_ids == sorted(f"vggsound/{released.KEYS[n]}" for n in numbers)
    assert samples.missing == tuple(sorted(f"vggsound/{released.KEYS[n]}" for n in (0, 8, 9)))
    spec = BatchSpec(batch_size=3, read=BOTH, labels="index", shuffle="full", feature_rows=31)
    seen = {}
    for batch in Loader(samples, spec, seed=1, workers=workers):
        for row, clip_id in enumerate(batch.clip_ids):
            audio, video = (batch.features[name][row].numpy() for name in BOTH)
            seen[clip_id] = (audio, video, int(batch.labels[row]))
    assert sorted(seen) == samples.clip_ids
    for number in numbers:
        audio, video, label = seen[f"vggsound/{released.KEYS[number]}"]
        assert np.array_equal(audio[:30], released.value(number))
        frames = visual(number)
        assert np.array_equal(video[: len(frames)], frames)
        assert not video[len(frames) :].any()
        rows = opened.query("SELECT label FROM labels WHERE label_id = ?", [label]).rows()
        assert rows[0]["label"] == released.ROWS[number][2].strip('"')


def test_a_step_of_turns_reads_one_feature_of_the_same_rows(opened: OpenStore) -> None:
    samples = sample_list(opened, TRAINABLE, features=BOTH)
    whole = BatchSpec(
        batch_size=1,
        read=BOTH,
        labels="multi_hot",
        feature_rows=30,
        feature_norm=True,
        augment=Augment(mixup=0.5, feature_roll=15),
    )
    spec = replace(whole, turns=Turns(BOTH, 0.5, seed=3))
    found = list(zip(Loader(samples, spec), Loader(samples, whole, workers=1), strict=True))
    for batch, both in found:
        (name,) = batch.features
        assert name == spec.turns.feature(batch.step)
        assert torch.equal(batch.features[name], both.features[name])
        assert torch.equal(batch.labels, both.labels)
    assert {name for batch, _ in found for name in batch.features} == set(BOTH)


def test_pictures_and_sound_are_refused_in_words(opened: OpenStore) -> None:
    samples = sample_list(opened, TRAINABLE, features=BOTH[:1])
    assert len(samples) == 8
    with pytest.raises(StoreError, match="8 of 8 clips have imported features and no base shard"):
        Loader(samples, BatchSpec(batch_size=2))
    with pytest.raises(StoreError, match="read features alone"):
        Loader(samples, BatchSpec(batch_size=2, read=("waveform", BOTH[0])))
    with pytest.raises(StoreError, match=r"imported features without base shards: convnext-audio"):
        sample_list(opened, TRAINABLE)
    with pytest.raises(StoreError, match="none of the 10 clips"):
        sample_list(opened, TRAINABLE, features=["clap-map"])
    with pytest.raises(StoreError, match="have no sample"):
        opened.sample(samples.clip_ids[0])


def test_a_list_of_features_has_the_fingerprint_of_their_values(tmp_path: Path) -> None:
    prints = []
    for name, seed in (("one", 0), ("same", 0), ("other", 50)):
        import_to(tmp_path / name, BOTH[0], {n: released.value(n + seed) for n in range(3)})
        samples = sample_list(open_store(tmp_path / name), TRAINABLE, features=BOTH[:1])
        prints.append(samples.fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_clips_with_and_without_base_shards_are_in_one_list(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store")
    clips = open_store(root).query("SELECT clip_id, split FROM clips ORDER BY position").rows()
    stored = open_store(root).query("SELECT DISTINCT clip_id FROM samples").table.column(0)
    alone = next(row["clip_id"] for row in clips if row["clip_id"] not in stored.to_pylist())
    base = stored.to_pylist()[:2]
    arrays = {clip_id: np.full((2, 3), n, np.float32) for n, clip_id in enumerate([alone, *base])}
    files = {f"{i.partition('/')[2]}.npy": released.npy(array) for i, array in arrays.items()}
    folder = released.write_folder(tmp_path / "mine", files)
    spec = get("vggsound")
    chosen = FeatureImportOptions("mine", [str(folder)], names="{key}")
    import_feature(Store(root), replace(spec, name="toy", streams=()), chosen)
    opened = open_store(root)
    samples = sample_list(opened, "SELECT DISTINCT clip_id FROM feature_samples "
                          "WHERE feature = 'mine'", features=["mine"])  # fmt: skip
    assert samples.clip_ids == sorted(arrays)
    spec_ = BatchSpec(batch_size=3, read=("mine",))
    batch = next(iter(Loader(samples, spec_)))
    for row, clip_id in enumerate(batch.clip_ids):
        assert np.array_equal(batch.features["mine"][row].numpy(), arrays[clip_id])
    with pytest.raises(StoreError, match="1 of 3 clips have imported features"):
        Loader(samples, BatchSpec(batch_size=3, read=("frames", "mine")))
    whole = sample_list(opened, "SELECT clip_id FROM trainable")
    assert alone in whole.missing
