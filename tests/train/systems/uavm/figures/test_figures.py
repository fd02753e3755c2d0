"""The figures' numbers: by hand, and as UAVM's released functions compute them.

The numbers are those of its modality classifier, similarity matrix, recalls and attention
difference (YuanGongND/uavm at b3120c7) on the arrays below.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avstore.train.systems.uavm.figures.layer_scores import (
    attention_difference,
    attention_profile,
    recall_by_layer,
)
from avstore.train.systems.uavm.figures.probing import modality_probe, tsne
from avstore.train.systems.uavm.figures.tables import against_layer, against_setting

PUBLISHED = json.loads(Path(__file__).with_name("released_figures.json").read_text())


def embeddings(clips: int = 61, width: int = 8, apart: float = 0.5) -> list[np.ndarray]:
    """Audio and video embeddings with a common part, and video moved in two dimensions."""
    draw = np.random.RandomState(2)
    common = draw.standard_normal((clips, width))
    audio, video = (common + draw.standard_normal((clips, width)) for _ in range(2))
    video[:, :2] += apart
    return [audio.astype(np.float32), video.astype(np.float32)]


def maps(clips: int = 3, heads: int = 2, rows: int = 4) -> list[np.ndarray]:
    draw = np.random.RandomState(4)
    return [draw.dirichlet(np.ones(rows), (clips, heads, rows)) for _ in range(2)]


@pytest.mark.parametrize("apart", [0.5, 2.0])
def test_modality_probe_is_the_released_one(apart: float) -> None:
    published = PUBLISHED[f"probe_{apart}"]
    order = np.random.RandomState(0).permutation(60)
    found = modality_probe(*embeddings(apart=apart), order)
    assert found.accuracy == pytest.approx(published["accuracy"], abs=1e-6)
    assert found.coefficients == pytest.approx(published["coefficients"], abs=1e-5)
    assert found.accuracy == modality_probe(*embeddings(apart=apart)).accuracy


def test_modality_probe_sees_what_is_different_and_nothing_else() -> None:
    audio, video = embeddings(clips=400, apart=20.0)
    found = modality_probe(audio, video)
    assert (found.accuracy, found.train_accuracy) == (1.0, 1.0)
    assert found.coefficients[-3] < 0.1 < found.coefficients[-2]
    same = modality_probe(audio, audio)
    assert (same.accuracy, same.coefficients.max()) == (0.5, 0.0)
    with pytest.raises(ValueError, match=r"audio \(400, 8\) and video \(399, 8\)"):
        modality_probe(audio, video[1:])


def layer(ties: str) -> list[np.ndarray]:
    """Embeddings; with many ties, of 16 vectors whose length of 2 divides without rounding."""
    return embeddings() if ties == "few" else [np.sign(x) for x in embeddings(width=4)]


@pytest.mark.parametrize("ties", ["few", "many"])
def test_recalls_are_the_released_ones(ties: str) -> None:
    """A tie adds ranks there, as in five rows of the released table; here it counts against."""
    audio, video = ([torch.from_numpy(x)] for x in layer(ties))
    published = recall_by_layer(audio, video, "published")
    expected = {k: [pytest.approx(100 * v)] for k, v in PUBLISHED[f"recall_{ties}"].items()}
    assert published == expected
    own = recall_by_layer(audio, video)
    assert (own == published) == (ties == "few")


def test_recall_of_each_layer() -> None:
    perfect, other = torch.eye(20), torch.eye(20).roll(7, 0)
    found = recall_by_layer([perfect, perfect], [perfect, other])
    assert found["a2v_r5"] == [100.0, 0.0]


def test_attention_difference_is_the_released_one() -> None:
    audio, video = (torch.from_numpy(x) for x in maps())
    found = attention_difference(audio, video)
    assert found.shape == (3,)
    assert float(found.mean()) == pytest.approx(PUBLISHED["attention_difference"], abs=1e-7)
    parts = [attention_difference(audio[i : i + 2], video[i : i + 2]) for i in (0, 2)]
    assert torch.equal(torch.cat(parts), found)
    with pytest.raises(ValueError, match="are not attention maps"):
        attention_difference(audio, video[..., :3])


def test_attention_profile_by_hand_and_as_released() -> None:
    by_hand = attention_profile(torch.tensor([[[0.8, 0.2], [0.25, 0.75]]]))
    assert torch.allclose(by_hand, torch.tensor([[1 + 1 / 3, 0.25 + 1.0]]))
    found = attention_profile(torch.from_numpy(maps()[0][0]))
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in PUBLISHED["profile"]]


def test_tsne_gives_the_first_points_of_every_fifth_clip() -> None:
    audio, video = embeddings(clips=100, apart=50.0)
    points = tsne(audio, video, drawn=12, iterations=300)
    assert (points.audio.shape, points.video.shape) == ((12, 2), (12, 2))
    again = tsne(audio, video, drawn=20, iterations=300)
    assert np.array_equal(points.video, again.video[:12])
    # The modalities are two clouds, farther from each other than they are wide.
    gap = np.linalg.norm(again.audio.mean(0) - again.video.mean(0))
    assert gap > np.linalg.norm(again.audio - again.audio.mean(0), axis=1).mean()


def test_tables_have_the_published_means() -> None:
    """Three runs each of the released table of modality classifiers (S = 16 and 1024)."""
    runs = {float(width): rows for width, rows in PUBLISHED["probe_runs"].items()}
    by_layer = against_layer(runs, "shared_width", "accuracy")
    assert [(row["shared_width"], row["layer"]) for row in by_layer[5:9]] == [
        (16, 5), (16, 6), (1024, 0), (1024, 1)
    ]  # fmt: skip
    last = against_setting(
        {width: [row[6] for row in rows] for width, rows in runs.items()},
        "shared_width",
        "accuracy",
    )
    means = {row["shared_width"]: round(100 * row["accuracy"], 1) for row in last}
    assert means == {16: 57.5, 1024: 99.9}
    assert last[0] == {key: by_layer[6][key] for key in by_layer[6] if key != "layer"}
    spread = np.std([row[6] for row in runs[16]])
    assert last[0]["accuracy_std"] == pytest.approx(spread)
    assert last[0]["repeats"] == 3


def test_tables_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shared_width=16 have shape \(3,\)"):
        against_layer({16: [0.1, 0.2, 0.3]}, "shared_width", "accuracy")


def test_few_clips_give_points_of_their_own_modality() -> None:
    audio, video = embeddings(clips=40, apart=50.0)
    points = tsne(audio, video, iterations=250)
    assert points.audio.shape == points.video.shape == (8, 2)
