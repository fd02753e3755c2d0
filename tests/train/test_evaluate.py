"""Scores against cases worked out by hand."""

import pytest
import torch

from train.evaluate import (
    average_score,
    chance,
    forgetting_published,
    forgetting_standard,
    recalls,
    retrieval,
)


def test_recall_counts_better_columns_and_half_of_ties() -> None:
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.9], [0.3, 0.3, 0.3]])
    assert recalls(similarity, torch.tensor([0]))["R@1"] == 100.0
    assert recalls(similarity, torch.tensor([1]))["R@1"] == 0.0
    assert recalls(similarity, torch.tensor([2]))["R@1"] == 0.0
    assert recalls(similarity, torch.arange(3))["R@5"] == 100.0


def test_equal_embeddings_score_as_chance_and_not_as_perfect() -> None:
    same = torch.ones(40, 4)
    assert retrieval(same, same, ["a"] * 40)["a"] == 0.0
    assert chance(40) == pytest.approx(100 * (1 + 5 + 10) / 40 / 3)


def test_perfect_pairs_score_a_hundred() -> None:
    eye = torch.eye(12)
    assert retrieval(eye, eye, ["a"] * 6 + ["b"] * 6) == {"a": 100.0, "b": 100.0}


def test_average_and_both_forgettings() -> None:
    matrix = [[50.0, 10.0, 5.0], [30.0, 60.0, 8.0], [20.0, 40.0, 70.0]]
    assert average_score(matrix) == pytest.approx(130 / 3)
    assert forgetting_standard(matrix) == pytest.approx(((50 - 20) + (60 - 40)) / 2)
    # As published: the last task counts too, and all T terms are divided by T - 1.
    assert forgetting_published(matrix) == pytest.approx(((50 - 20) + (60 - 40) + (8 - 70)) / 2)
    assert forgetting_standard([[1.0]]) == 0.0
