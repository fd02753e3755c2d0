"""Scores of semantic segmentation: those of AVSA's released functions, and the standard ones."""

import math

import pytest
import torch
from torch.nn import functional as F

from avstore.train.evaluation.semantic import class_areas, semantic_scores
from tests.train.systems.avsa.released_segmentation import CLASSES, NUMBERS, scored_batches


def areas_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    large = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    return class_areas(large.argmax(1), labels, CLASSES)


def test_scores_of_batches_are_those_of_the_released_functions() -> None:
    found = [areas_of(*batch) for batch in scored_batches()]
    for number, own in enumerate(found):
        scores = semantic_scores(own, len(own))
        assert scores["picture_miou"] == pytest.approx(NUMBERS["miou"][number], abs=1e-4)
        assert scores["batch_accuracy"] == pytest.approx(NUMBERS["accuracy"][number], abs=1e-4)
    both = semantic_scores(torch.cat(found), len(found[0]))
    assert both["picture_miou"] == pytest.approx(NUMBERS["mean"][2], abs=1e-4)
    assert both["batch_accuracy"] == pytest.approx(NUMBERS["mean"][1], abs=1e-4)


def test_the_standard_scores_are_over_all_pixels() -> None:
    """By hand: 4 labelled pixels, of class 0 one right and one taken for 2, of class 1 both."""
    labels = torch.tensor([[[0, 0]], [[1, 255]], [[1, 255]]])
    predicted = torch.tensor([[[0, 2]], [[1, 0]], [[1, 1]]])
    found = semantic_scores(class_areas(predicted, labels, 3), 1)
    assert found["pixel_accuracy"] == pytest.approx(75.0)
    assert found["miou"] == pytest.approx(100 * (0.5 + 1.0 + 0.0) / 3)
    assert found["picture_miou"] == pytest.approx(100 * (0.25 + 1 + 1) / 3)


def test_pictures_without_a_label_have_no_scores_and_change_none() -> None:
    labels = torch.full((2, 3, 3), 255)
    empty = class_areas(torch.zeros(2, 3, 3, dtype=torch.long), labels, CLASSES)
    assert all(map(math.isnan, semantic_scores(empty, 2).values()))
    logits, known = scored_batches()[0]
    own = areas_of(logits, known)
    assert semantic_scores(torch.cat([own, empty]), len(own)) == semantic_scores(own, len(own))
