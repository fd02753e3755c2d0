"""Scores of single clips, and events that follow from seconds."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from avstore.train.clip_scores import (
    CLIPS,
    EVENTS,
    ClipScores,
    Event,
    events_of,
    overlap,
    write_clip_scores,
)
from avstore.train.evaluation.retrieval import beaten


def test_seconds_that_follow_each_other_are_one_event() -> None:
    active = torch.zeros(10, 2, 3, dtype=torch.bool)
    active[2:5, 0, 1] = True
    active[7:, 0, 1] = True
    active[0, 1, 2] = True
    assert list(events_of("a/b", active, ("audio", "visual"))) == [
        Event("a/b", "audio", 1, 2.0, 5.0),
        Event("a/b", "audio", 1, 7.0, 10.0),
        Event("a/b", "visual", 2, 0.0, 1.0),
    ]


def test_the_overlap_is_what_both_have_of_what_either_has() -> None:
    found, truth = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([0, 1, 1, 1]).bool()
    assert overlap(found, truth) == 25.0
    assert overlap(~found & ~truth & found, truth & found & ~truth) == 0.0


def test_a_partner_that_is_nearest_both_ways_beats_all_other_clips() -> None:
    audio = torch.eye(3)
    video = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])
    assert beaten(audio, video).tolist() == pytest.approx([100.0, 0.0, 0.0])
    assert beaten(audio[:1], video[:1]).tolist() == [100.0]


def test_files_hold_scores_and_events(tmp_path: Path) -> None:
    events = [Event("a/b", "both", 3, 1.0, 2.0)]
    write_clip_scores(tmp_path, ClipScores("overlap", {"a/b": 50.0}, events))
    assert pq.read_table(tmp_path / CLIPS).to_pylist() == [
        {"clip_id": "a/b", "metric": "overlap", "value": 50.0}
    ]
    assert pq.read_table(tmp_path / EVENTS).to_pylist() == [vars(events[0])]
