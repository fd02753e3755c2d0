"""Features that are read into their rows of the batch are the ones that are stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avstore.manifests.library import open_store
from avstore.manifests.shard_reader import BadSampleError
from avstore.manifests.store import StoreError
from avstore.train.data import BatchSpec, ErrorPolicy, Loader, SampleList, sample_list
from tests.pipelines.interchange import released
from tests.train.data.test_feature_only import import_to, visual

NAME = "convnext-audio"
SPEC = BatchSpec(batch_size=8, read=(NAME,), random=False)
CHECKED = ErrorPolicy(checksum="always")


def stored(tmp_path: Path, arrays: dict[int, np.ndarray], name: str = NAME) -> SampleList:
    import_to(tmp_path / "store", name, arrays)
    return sample_list(
        open_store(tmp_path / "store"), "SELECT clip_id FROM trainable", features=[name]
    )


def by_clip(loader: Loader, name: str = NAME) -> dict[str, torch.Tensor]:
    return {
        clip: batch.features[name][row]
        for batch in loader
        for row, clip in enumerate(batch.clip_ids)
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("policy", [ErrorPolicy(), CHECKED])
def test_every_row_holds_its_own_array(tmp_path: Path, threads: int, policy: ErrorPolicy) -> None:
    arrays = {n: released.value(n) for n in range(8)}
    arrays[3] = np.asfortranarray(arrays[3])  # the same shape by another order of bytes
    found = by_clip(Loader(stored(tmp_path, arrays), SPEC, threads=threads, policy=policy))
    for number, array in arrays.items():
        assert np.array_equal(found[f"vggsound/{released.KEYS[number]}"].numpy(), array)


def test_batches_in_hand_keep_their_features(tmp_path: Path) -> None:
    arrays = {n: released.value(n) for n in range(8)}
    spec = BatchSpec(batch_size=2, read=(NAME,))
    loader = Loader(stored(tmp_path, arrays), spec)
    held = [batch for _ in range(3) for batch in loader]
    for batch in held:
        for row, clip in enumerate(batch.clip_ids):
            number = released.KEYS.index(clip.removeprefix("vggsound/"))
            assert np.array_equal(batch.features[NAME][row].numpy(), arrays[number])


def test_arrays_of_two_shapes_are_refused_unless_they_are_fitted(tmp_path: Path) -> None:
    name, arrays = "convnext-visual", {n: visual(n) for n in range(8)}  # 28 to 31 rows
    samples = stored(tmp_path, arrays, name)
    spec = BatchSpec(batch_size=8, read=(name,), random=False)
    with pytest.raises(StoreError, match="set feature_rows"):
        list(Loader(samples, spec))
    found = by_clip(Loader(samples, replace(spec, feature_rows=30), threads=1), name)
    for number, array in arrays.items():
        value = found[f"vggsound/{released.KEYS[number]}"].numpy()
        assert np.array_equal(value[: len(array)], array[:30])
        assert not value[len(array) :].any()


@pytest.mark.parametrize("place", ["content", "header"])
def test_a_damaged_array_is_skipped_by_name_and_leaves_no_rest(tmp_path: Path, place: str) -> None:
    arrays = {n: released.value(n) for n in range(8)}
    samples = stored(tmp_path, arrays)
    number = 4
    damage(tmp_path / "store", samples, number, place)
    clip = samples.clip_ids[number]
    with pytest.raises(BadSampleError, match=clip):
        list(Loader(samples, SPEC, policy=CHECKED))
    (batch,) = Loader(samples, SPEC, policy=ErrorPolicy("skip", "always"), threads=1)
    assert [problem.clip_id for problem in batch.problems] == [clip]
    assert batch.clip_ids == [other for other in samples.clip_ids if other != clip]
    for row, other in enumerate(batch.clip_ids):
        array = arrays[released.KEYS.index(other.removeprefix("vggsound/"))]
        assert np.array_equal(batch.features[NAME][row].numpy(), array)


def damage(store: Path, samples: SampleList, number: int, place: str) -> None:
    shard = store / samples.companions[int(samples.numbers(f"{NAME} shard")[number])].path
    start = int(samples.numbers(f"{NAME} start")[number])
    content = bytearray(shard.read_bytes())
    content[start - 500 if place == "header" else start + 1000] ^= 0xFF
    shard.chmod(0o644)
    shard.write_bytes(content)
