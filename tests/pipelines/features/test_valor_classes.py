"""Test own sentences and thresholds of VALOR's teachers."""

from pathlib import Path

import numpy as np
import pytest

from avstore.pipelines.features.extractor import FeatureError, parameters_of
from avstore.pipelines.features.extractors.valor_prompts import VALOR_LABELS
from avstore.pipelines.features.lineage import lineage_of
from avstore.pipelines.features.registry import make_extractor
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights

DOG = VALOR_LABELS.index("Dog")
CLIP, CLAP = "valor-clip-labels", "valor-clap-labels"


def classes(tmp_path: Path, text: str) -> str:
    path = tmp_path / "classes.csv"
    path.write_text(text)
    return str(path)


def fingerprint(name: str, **parameters: str) -> str:
    weights = Weights("none", None)
    return lineage_of(make_extractor(name, parameters), name, weights, "valor", "ff").fingerprint


def test_published_classes_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    assert parameters_of(make_extractor(CLIP)) == {"model": "vit-l-14"}
    assert parameters_of(make_extractor(CLAP)) == {"model": "htsat-fused"}
    same = classes(tmp_path, "label,clip_prompt,clip_threshold\nDog,A photo of a dog.,14\nCat,,\n")
    assert fingerprint(CLIP, classes=same) == fingerprint(CLIP)


def test_own_thresholds_count_by_their_content_and_for_their_teacher(tmp_path: Path) -> None:
    text = "label,clip_threshold,clap_threshold\nDog,13.5,4\n"
    changed = classes(tmp_path, text)
    extractor = make_extractor(CLIP, {"classes": changed})
    assert fingerprint(CLIP, classes=changed) != fingerprint(CLIP)
    assert fingerprint(CLAP, classes=changed) == fingerprint(CLAP)
    (tmp_path / "other").mkdir()
    assert fingerprint(CLIP, classes=classes(tmp_path / "other", text)) == fingerprint(
        CLIP, classes=changed
    )
    logits = np.zeros((10, 25), np.float32)
    logits[:2, DOG] = 13.5, 13.6
    found = extractor.value(logits, StoredClip("llp/k", labels=("Dog",)))
    assert found[:, DOG].tolist() == [0, 1, *[0] * 8]


def test_a_file_may_be_for_the_classes_of_ave(tmp_path: Path) -> None:
    path = classes(tmp_path, "label,clip_threshold\nHorse,16\n")
    given = {"classes": path, "dataset": "ave"}
    extractor = make_extractor(CLIP, given)
    assert parameters_of(extractor)["dataset"] == "ave"
    assert (
        len({fingerprint(CLIP), fingerprint(CLIP, dataset="ave"), fingerprint(CLIP, **given)}) == 3
    )
    found = extractor.value(np.full((10, 28), 15.5), StoredClip("ave/k", labels=("Horse", "Cat")))
    assert np.flatnonzero(found.any(0)).tolist() == [22], "Cat's threshold is 15"
    with pytest.raises(FeatureError, match="'Horse' is not one of LLP's 25"):
        make_extractor(CLIP, {"classes": path})


def test_the_recorded_parameters_make_the_extractor_without_the_file(tmp_path: Path) -> None:
    path = classes(tmp_path, "label,clap_prompt\nDog,barking\n")
    extractor = make_extractor(CLAP, {"classes": path, "model": "tiny"})
    Path(path).unlink()
    assert make_extractor(CLAP, parameters_of(extractor)) == extractor


def test_own_sentences_change_the_logits_of_their_class_alone(tmp_path: Path) -> None:
    path = classes(tmp_path, "label,clip_prompt\nDog,a big dog\n")
    weights = Weights("random", "0", seed=0)
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    logits = [
        make_extractor(CLIP, {"model": "tiny", **extra}).load(weights, "cpu")(frames)
        for extra in ({}, {"classes": path})
    ]
    assert np.flatnonzero(np.abs(logits[0] - logits[1]).max(0) > 1e-5).tolist() == [DOG]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,clip_threshold\nDogs,1\n", "row 2: the label 'Dogs' is not one.*mean 'Dog'"),
        ("label,clip_threshold\nDog,1\nDog,2\n", "row 3: the label 'Dog' is twice"),
        ("label,clip_threshold\nDog,high\n", "row 2: clip_threshold 'high' is not a number"),
        ("label,threshold\nDog,1\n", "has the columns label, threshold; expected label, and clip_"),
        ("", "has the columns none"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        make_extractor(CLIP, {"classes": classes(tmp_path, text)})
    with pytest.raises(FeatureError, match=r"classes=.*cannot be read"):
        make_extractor(CLIP, {"classes": str(tmp_path / "none.csv")})
