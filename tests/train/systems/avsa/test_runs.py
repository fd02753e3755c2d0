"""AVSA and its evaluations over a store of small panoramas, by the command."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from avstore.train import run
from avstore.train.systems.avsa.pairs import balanced
from tests.train.systems.avsa.made_up import made_up_store
from tests.train.test_resume import Killed, dying_before, numbers

COMMON = ("epochs=1", "batch_size=4", "eval_batch=4", "data.workers=0")
NETS = ("model.stem=4", "model.widths=[4,4,8,16]", "model.blocks=1")
PAIRS = ("objective.size=32", "data.seconds=2.0")
VIEWS = (*PAIRS, "objective.gallery=4")
ACTION = ("model.classes=2", "objective.size=32", "objective.shorter=36", "objective.windows=3")
LAST = ("steps_per_checkpoint=1",)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips to train on and four to test, of eight videos."""
    return made_up_store(tmp_path_factory.mktemp("panoramas"))


def go(store: Path, out: Path, config: str, *sets: str, method: str | None = None) -> int:
    words = [word for text in (*COMMON, *NETS, *LAST, *sets) for word in ("--set", text)]
    place = ["--shards", str(store), "--out", str(out), "--device", "cpu", "--stream", "toy"]
    own = ["--method", method] if method else []
    return run.main([*place, "--config", config, *own, *words])


def scores(out: Path) -> dict[str, float]:
    return {row[3]: row[4] for row in numbers(out) if row[1] == "all"}


@pytest.fixture(scope="module")
def aligned(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "avsa"
    assert go(store, out, "avsa", *VIEWS, "objective.control=true", "data.video_passes=2") == 0
    return out


def test_alignment_scores_views_and_clips(aligned: Path) -> None:
    found = scores(aligned)
    names = {f"{metric}_acc" for metric in ("avc", "avsa", "avsa_strict")}
    assert names | {f"{name}_yawed" for name in names} <= found.keys()
    results = json.loads((aligned / "results.json").read_text())
    assert (results["headline"], results["chance_avg"]) == (["avsa_acc"], 25.0)


def test_each_clip_has_the_share_of_its_views_that_are_right(aligned: Path) -> None:
    rows = pq.read_table(aligned / "clips.parquet").to_pylist()
    mean = sum(row["value"] for row in rows) / len(rows)
    assert len(rows) == 4
    assert mean == pytest.approx(scores(aligned)["avsa_acc"])


def test_diagnostics_are_recorded_at_every_step_and_not_trained(aligned: Path) -> None:
    rows = [row for row in numbers(aligned) if row[1] is None]
    by_step = {(row[2], row[3]): row[4] for row in rows}
    steps = {step for step, name in by_step if name == "loss"}
    assert len(steps) > 1
    for step in steps:
        assert 0 <= by_step[step, "avsa_v2a"] <= 100
        parts = by_step[step, "v2a"] + by_step[step, "a2v"]
        assert by_step[step, "loss"] == pytest.approx(parts, rel=1e-5)


def test_the_curriculum_takes_the_encoders_of_correspondence(store: Path, tmp_path: Path) -> None:
    assert go(store, tmp_path / "avc", "avsa_avc", *VIEWS) == 0
    assert scores(tmp_path / "avc").keys() >= {"avc_acc"}
    weights = tmp_path / "avc" / "task-01.pt"
    assert go(store, tmp_path / "avsa", "avsa", *VIEWS, f"init={weights}") == 0


@pytest.mark.parametrize(
    ("config", "sets", "lacks"),
    [
        ("avsa", (*VIEWS, "model.predictors=alone"), "predictors, projections"),
        ("avsa_bin", PAIRS, "head"),
        ("avsa_ucf101", ACTION, "head"),
    ],
)
def test_without_training_no_initial_weights_are_scored(
    store: Path,
    aligned: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    config: str,
    sets: tuple[str, ...],
    lacks: str,
) -> None:
    weights = aligned / "task-01.pt"
    assert go(store, tmp_path / "out", config, *sets, f"init={weights}", "epochs=0") == 2
    assert f"parts of the model: {lacks};" in capsys.readouterr().err


def test_a_stopped_run_continues_to_the_same_numbers(store: Path, tmp_path: Path) -> None:
    assert go(store, tmp_path / "whole", "avsa", *VIEWS) == 0
    with dying_before(2), pytest.raises(Killed):
        go(store, tmp_path / "half", "avsa", *VIEWS)
    assert go(store, tmp_path / "half", "avsa", *VIEWS) == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")


@pytest.mark.parametrize("predicted", ["false", "true"])
@pytest.mark.parametrize("config", ["avsa_avc_bin", "avsa_bin"])
def test_a_head_on_frozen_encoders(
    store: Path, aligned: Path, tmp_path: Path, config: str, predicted: str
) -> None:
    weights = aligned / "task-01.pt"
    own = (*PAIRS, f"objective.predicted={predicted}", f"init={weights}")
    assert go(store, tmp_path / "out", config, *own, "objective.windows=2") == 0
    found = scores(tmp_path / "out")
    assert {"accuracy", "view_accuracy"} <= found.keys()
    assert ("balanced_accuracy" in found) == (config == "avsa_bin")
    before = torch.load(weights)["model"]
    after = torch.load(tmp_path / "out" / "task-01.pt")["model"]
    kept = {name: value for name, value in before.items() if not name.startswith("heads.")}
    for name, value in kept.items():
        assert torch.equal(value, after[f"model.{name}"]), f"{name} was trained"


def test_trained_heads_score_the_same_again(store: Path, aligned: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert go(store, first, "avsa_bin", *PAIRS, f"init={aligned}/task-01.pt") == 0
    own = (*PAIRS, f"init={first}/task-01.pt", "epochs=0")
    assert go(store, again, "avsa_bin", *own) == 0
    assert scores(first) == scores(again)


def test_the_same_answer_for_all_has_a_balanced_accuracy_of_a_half() -> None:
    turned = torch.tensor([1, 1, 1, 0])
    assert balanced((turned == 1).float(), turned) == 0.5
    assert balanced(torch.tensor([1.0, 1.0, 0.0, 1.0]), turned) == pytest.approx(5 / 6)
    assert balanced(torch.ones(2), torch.ones(2)) == 1.0


@pytest.mark.parametrize("method", ["finetune", "er"])
def test_actions_from_pretrained_encoders(
    store: Path, aligned: Path, tmp_path: Path, method: str
) -> None:
    weights = aligned / "task-01.pt"
    replay = ("options.memory_size=4",) if method == "er" else ()
    own = (*ACTION, f"init={weights}", *replay)
    assert go(store, tmp_path / "out", "avsa_ucf101", *own, method=method) == 0
    found = scores(tmp_path / "out")
    assert {"video_accuracy", "video_top5", "clip_accuracy", "clip_top5"} <= found.keys()
    assert found["video_top5"] == 100.0


def test_context_without_predictors_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("model.predictors=off", "objective.predicted=true")
    assert go(store, tmp_path / "out", "avsa_bin", *own) == 2
    assert "objective.predicted = true needs predictors" in capsys.readouterr().err


def test_a_head_of_another_question_is_not_scored(
    store: Path, aligned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(store, tmp_path / "avc", "avsa_avc_bin", *PAIRS, f"init={aligned}/task-01.pt") == 0
    own = (*PAIRS, f"init={tmp_path}/avc/task-01.pt", "epochs=0")
    assert go(store, tmp_path / "yaw", "avsa_bin", *own) == 2
    assert "head" in capsys.readouterr().err


def test_one_view_is_scored_by_the_right_clip_alone(store: Path, tmp_path: Path) -> None:
    assert go(store, tmp_path / "one", "avsa", *VIEWS, "objective.views=1") == 0
    names = {name for name in scores(tmp_path / "one") if name.endswith("_acc")}
    assert names == {"avc_acc"}
