"""Alignment compares each view with its clip's views, and with the same view of other clips."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from avstore.train.systems.avsa.losses import alignment


def by_hand(predicted: torch.Tensor, target: torch.Tensor, temperature: float) -> float:
    """The loss from its formula, one view at a time."""
    query, key = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
    clips, views = predicted.shape[:2]
    losses = []
    for i in range(clips):
        for j in range(views):
            known = [key[i, k] for k in range(views)]
            known += [key[n, j] for n in range(clips) if n != i]
            scores = torch.stack([query[i, j] @ other for other in known]) / temperature
            losses.append(float(scores.logsumexp(0) - scores[j]))
    return sum(losses) / len(losses)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31), st.floats(0.05, 1.0))
def test_the_loss_is_that_of_the_formula(
    clips: int, views: int, seed: int, temperature: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.randn(2, clips, views, 8, generator=generator)
    found = alignment(predicted, target, temperature)
    own = float(found.loss.mean())
    assert own == pytest.approx(by_hand(predicted, target, temperature), rel=1e-4, abs=1e-5)


def test_views_that_are_all_the_same_win_by_ties_alone() -> None:
    target = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(0)).expand(3, 4, 8)
    wins = alignment(target, target, 0.07).wins()
    assert wins["avc"].all()
    assert wins["avsa"].all()
    assert not wins["avsa_strict"].any()


def test_one_clip_has_no_others_to_be_taken_for() -> None:
    views = torch.eye(4, 8)[None]
    found = alignment(views, views, 0.1)
    assert found.wins()["avc"].all()
    assert float(found.loss) == pytest.approx(math.log1p(3 * math.exp(-10)), rel=1e-3)
