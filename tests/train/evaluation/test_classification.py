"""Scores by modality: by hand, and as UAVM's released functions compute them.

The numbers are those of its `calculate_stats` and `d_prime` (YuanGongND/uavm at b3120c7) on the
logits below: accuracy, and mean AP and AUC over the classes.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from avstore.train.evaluation.classification import (
    classification,
    classification_by_view,
    with_both,
)

PUBLISHED = {
    "one": {
        "audio": (0.5666667, 0.5751550, 0.7760746, 1.073392),
        "video": (0.3500000, 0.4802083, 0.6674912, 0.612349),
        "both": (0.5833333, 0.5974869, 0.7886240, 1.133713),
    },
    "several": {
        "audio": (0.4833333, 0.7363176, 0.8036368, 1.208705),
        "video": (0.4833333, 0.6389115, 0.7251912, 0.846171),
        "both": (0.6000000, 0.8014393, 0.8424704, 1.420808),
    },
}


def drawn(several: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits by audio and by video, and targets, of 60 clips and 4 classes."""
    draw = np.random.RandomState(5)
    targets = np.eye(4)[draw.randint(0, 4, 60)]
    if several:
        targets = np.maximum(targets, draw.random_sample((60, 4)) < 0.2)
    audio, video = (draw.standard_normal((60, 4)) + strength * targets for strength in (1.0, 0.6))
    return (
        torch.from_numpy(audio).float(),
        torch.from_numpy(video).float(),
        torch.from_numpy(targets),
    )


@pytest.mark.parametrize("labels", ["one", "several"])
def test_scores_are_the_released_ones(labels: str) -> None:
    audio, video, targets = drawn(labels == "several")
    found = classification_by_view(with_both({"audio": audio, "video": video}), targets)
    for modality, (accuracy, mean_ap, auc, d_prime) in PUBLISHED[labels].items():
        if labels == "one":
            assert found[f"{modality}_accuracy"] == pytest.approx(100 * accuracy, abs=1e-4)
        else:
            assert f"{modality}_accuracy" not in found  # the released one means nothing here
        assert found[f"{modality}_map"] == pytest.approx(100 * mean_ap, abs=1e-4)
        assert found[f"{modality}_auc"] == pytest.approx(auc, abs=1e-6)
        assert found[f"{modality}_d_prime"] == pytest.approx(d_prime, abs=1e-5)


def test_both_is_the_mean_of_several_views() -> None:
    audio = torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    video = torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = classification_by_view(with_both({"audio": audio, "video": video}), targets)
    names = ("audio_accuracy", "video_accuracy", "both_accuracy")
    assert [found[name] for name in names] == [50.0, 50.0, 100.0]
    # By audio, class 1 has a tie of both clips: precision 1/2.
    assert (found["audio_map"], found["both_map"], found["both_auc"]) == (75.0, 100.0, 1.0)
    assert with_both({"both": audio}).keys() == {"both"}  # a model that sees both together


def test_scores_of_one_ranking_by_hand() -> None:
    """Class 0 ranks + - + -: precision 1 and 2/3, and 3 of 4 pairs in order."""
    scores = torch.tensor([[4.0, 0.0], [3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = classification(scores, targets)
    assert (found["map"], found["auc"]) == (pytest.approx(100 * 5 / 6), pytest.approx(0.75))
    assert found["classes_scored"] == 1.0
