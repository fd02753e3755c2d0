"""Label maps of a segmentation network: classes, void, pictures of stored videos, and a build."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avstore.manifests.label_maps import LabelMaps
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verify import verify_store
from avstore.pipelines.features.driver import FeatureOptions, build_feature
from avstore.pipelines.features.extractor import FeatureError
from avstore.pipelines.features.extractors.panoptic import PanopticLabels
from avstore.pipelines.features.huggingface import panoptic_config, transformers
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsError, resolve_weights
from tests.train.systems.avsa import made_up

SMALL = {"model": "tiny", "width": "64", "input_width": "128"}


def label(classes: list[int], least: float = 0.0) -> np.ndarray:
    """Label four columns, each wholly in the mask of one query, of which each has a class."""
    queries = len(classes)
    logits = torch.full((1, queries, 134), -20.0)
    logits[0, torch.arange(queries), torch.tensor(classes)] = 20.0
    masks = torch.full((1, queries, 32, 64), -20.0)
    for number in range(queries):
        masks[0, number, :, 16 * number : 16 * number + 16] = 20.0
    found = SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)
    extractor = PanopticLabels(width=64, input_width=64, least_score=least)
    pictures = torch.zeros(1, 8, 16, 3, dtype=torch.uint8)
    maps = extractor.label(lambda pixel_values: found, pictures)
    return maps[0, 5, 8::16].numpy()


def test_stuff_comes_after_the_class_of_any_thing() -> None:
    np.testing.assert_array_equal(label([0, 79, 80, 132]), [0, 79, 81, 133])


def test_pixels_without_a_likely_class_have_no_label() -> None:
    """Class 133 is no class of the network's: such a query says that its mask shows nothing."""
    np.testing.assert_array_equal(label([3, 133, 3, 133], least=0.5), [3, 255, 3, 255])


def test_maps_of_each_quarter_of_a_second_are_a_feature_of_stored_videos(
    tmp_path: Path, scheduler: str
) -> None:
    store = made_up.made_up_store(tmp_path, clips=4)
    options = FeatureOptions(
        store, recipe="toy", scheduler=scheduler, random_seed=3, parameters=SMALL
    )
    built = build_feature("segmentation", options)
    assert (built.clips, built.problems) == (4, ())
    with open_store(store) as opened:
        values = opened.read("segmentation", ["toy/k00000", "toy/k00003"])
    assert values["toy/k00000"].dtype == np.uint8
    found = LabelMaps.of(values["toy/k00000"])
    assert (found.width, found.height, found.rate, found.missing) == (64, 32, 4.0, [])
    assert len(found) == 8  # of two seconds
    known = {*range(80), *range(81, 134), 255}
    assert set(np.unique(found.read(3)).tolist()) <= known
    assert verify_store(Store(store)) == []


@pytest.mark.parametrize("kind", ["Mask2FormerForUniversalSegmentation", "Bert"])
def test_a_folder_of_weights_says_its_network(tmp_path: Path, kind: str) -> None:
    if kind == "Bert":
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(WeightsError, match="is of a bert; give a mask2former or maskformer"):
            PanopticLabels().load(resolve_weights(None, tmp_path, None), "cpu")
        return
    library = transformers()
    model = getattr(library, kind)(library.Mask2FormerConfig(**panoptic_config("tiny")))
    model.save_pretrained(tmp_path)
    extractor = PanopticLabels(width=64, input_width=128, least_score=0.0)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 32, 3)).astype(np.uint8)
    run = extractor.load(resolve_weights(None, tmp_path, None), "cpu")
    with torch.inference_mode():
        expected = extractor.label(model.eval(), torch.from_numpy(pictures))
    np.testing.assert_array_equal(run(pictures), expected.numpy())


def test_wrong_settings_and_clips_are_said_in_one_line() -> None:
    with pytest.raises(FeatureError, match="width=100 is no multiple of 64"):
        PanopticLabels(width=100)
    with pytest.raises(WeightsError, match="model='huge' is not a Mask2Former model"):
        PanopticLabels(model="huge").load(Weights("random", "0" * 64, seed=1), "cpu")
    with pytest.raises(StoreError, match="yt360/a-1 has no video in its shard"):
        PanopticLabels().items(StoredClip("yt360/a-1", duration_s=1.0))
