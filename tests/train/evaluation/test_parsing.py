"""F-scores of parsing: the published functions' on random videos, and cases by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avstore.train.evaluation.parsing import events, parsing, parsing_by_class
from tests.train.systems.valor.released import cases

STORED = json.loads(
    (Path(__file__).parents[1] / "systems/valor/released_numbers.json").read_text()
)["f_scores"]


def test_a_thousand_random_videos_score_as_published() -> None:
    predicted, truth = cases()
    for ten, expected in enumerate(STORED["means_of_ten"]):
        own = slice(10 * ten, 10 * ten + 10)
        scores = parsing(predicted[own], truth[own])
        assert [scores[name] for name in STORED["order"]] == pytest.approx(expected, abs=1e-7)
        for level in ("segment", "event"):
            views = [scores[f"{level}_{view}"] for view in ("audio", "visual", "audio_visual")]
            assert scores[f"{level}_type"] == pytest.approx(sum(views) / 3)


def runs(*spans: tuple[int, int], modality: int = 0, label: int = 3) -> Tensor:
    """One video with events of one class."""
    out = torch.zeros(1, 10, 2, 25)
    for start, stop in spans:
        out[0, start:stop, modality, label] = 1
    return out


@pytest.mark.parametrize(
    ("predicted", "truth", "segment", "event"),
    [
        (runs(), runs(), 100, 100),
        (runs((0, 5)), runs((0, 10)), 2 * 5 / 15 * 100, 100),  # half of the union is enough
        (runs((0, 4)), runs((0, 10)), 2 * 4 / 14 * 100, 0),
        (runs(), runs((0, 10)), 0, 0),
        (runs((0, 3), (5, 8)), runs((0, 3)), 2 * 3 / 9 * 100, 2 / 3 * 100),
        (runs((0, 10)), runs((0, 5), (6, 10)), 2 * 9 / 19 * 100, 2 / 3 * 100),
    ],
)
def test_cases_by_hand(predicted: Tensor, truth: Tensor, segment: float, event: float) -> None:
    scores = parsing(predicted, truth)
    assert (scores["segment_audio"], scores["event_audio"]) == pytest.approx((segment, event))
    assert scores["segment_visual"] == 100, "nothing is there and nothing is said"


def test_events_are_maximal_runs() -> None:
    found = events(runs((0, 2), (3, 4), (8, 10))[:, :, 0])
    spans = [own.nonzero().flatten().tolist() for own in found[0, :, :, 3]]
    assert spans == [[0, 1], [3], [8, 9], [], []]


def test_a_class_is_scored_over_all_videos() -> None:
    predicted = torch.cat([runs((0, 5)), runs(), runs((0, 2), label=4)])
    truth = torch.cat([runs((0, 5)), runs((0, 5)), runs((5, 7), label=4)])
    found = parsing_by_class(predicted, truth)
    assert found["segment_audio"][[3, 4]].tolist() == pytest.approx([2 * 5 / 15 * 100, 0])
    assert found["event_audio"][[3, 4]].tolist() == pytest.approx([2 / 3 * 100, 0])
    assert torch.isnan(found["segment_audio"][5])
