"""HAN and the VALOR models over a store of features alone, by the command."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from avstore.pipelines.cli.app import app
from avstore.train import run
from tests.train.systems.valor import made_up
from tests.train.systems.valor.made_up import made_up_store
from tests.train.test_resume import Killed, dying_before, numbers

GROUPS = """
name = "groups"

[generate]
kind = "class-incremental"
dataset = "llp"
classes_per_task = 13
"""
SMALL = ["batch_size=8", "data.workers=0", "model.width=64", "epochs=3", "steps_per_checkpoint=1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen clips to train on, four to select by, six to test."""
    counts = {"train": 16, "val": 4, "test": 6}
    return made_up_store(tmp_path_factory.mktemp("llp"), counts)


def go(store: Path, out: Path, config: str, *sets: str, method: str = "finetune") -> int:
    words = [word for text in (*SMALL, *sets) for word in ("--set", text)]
    place = ["--shards", str(store), "--out", str(out), "--device", "cpu"]
    return run.main([*place, "--config", config, "--method", method, *words])


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("config", ["han", "valor", "valor_plus", "valor_plus_plus"])
def test_every_config_runs_from_features_alone(store: Path, tmp_path: Path, config: str) -> None:
    assert go(store, tmp_path / config, config) == 0
    found = results(tmp_path / config)
    assert found["headline"] == ["segment_type"]
    rows = {(row[1], row[3]): row[4] for row in numbers(tmp_path / config)}
    assert rows["all", "clips_scored"] == 6
    assert rows["epoch", "clips_scored"] == 4, "weights are selected by the clips of val"
    clips = pq.read_table(tmp_path / config / "clips.parquet").to_pylist()
    assert len(clips) == 6
    assert (tmp_path / config / "events.parquet").is_file() or not any(r["value"] for r in clips)
    assert {"audio", "visual", "video", "loss"} <= {row[3] for row in numbers(tmp_path / config)}


def test_a_stopped_run_continues_to_the_same_numbers(store: Path, tmp_path: Path) -> None:
    assert go(store, tmp_path / "whole", "valor") == 0
    with dying_before(3), pytest.raises(Killed):
        go(store, tmp_path / "half", "valor")
    assert go(store, tmp_path / "half", "valor") == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")


def test_tasks_of_events_are_learnt_one_after_another(tmp_path: Path) -> None:
    """Finetune forgets the first events, and ER replays them: every clip's seconds are scored."""
    store = made_up_store(tmp_path, {"train": 60, "val": 2, "test": 30})
    (tmp_path / "groups.toml").write_text(GROUPS)
    added = CliRunner().invoke(
        app, ["tasks", "add", f"{tmp_path}/groups.toml", "--store", str(store)]
    )
    assert added.exit_code == 0, added.output
    for method, sets in (("finetune", ()), ("er", ("options.memory_size=16",))):
        out = tmp_path / method
        assert go(store, out, "valor_continual", "stream=groups", *sets, method=method) == 0
        found = results(out)
        assert found["tasks"] == ["task0", "task1"]
        scored = {row[:2] for row in numbers(out) if row[3] == "segment_type"}
        assert {(t, e) for t in found["tasks"] for e in (*found["tasks"], "all")} <= scored


def test_clips_without_a_feature_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = made_up_store(tmp_path, {"train": 8, "val": 2, "test": 4}, lacking={3, 11, 12})
    assert go(store, tmp_path / "run", "valor") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 8 to train on, 2 of 4 to evaluate on" in said
    assert "| llp | 7 of 8 | 2 of 2 | 2 of 4 |" in (tmp_path / "run" / "card.md").read_text()
    rows = {(row[1], row[3]): row[4] for row in numbers(tmp_path / "run")}
    assert rows["all", "clips_scored"] == 2


def test_weights_are_scored_without_training(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go(store, tmp_path / "trained", "valor") == 0
    weights = f"init={tmp_path / 'trained' / 'task-01.pt'}"
    assert go(store, tmp_path / "scored", "valor", weights, "epochs=0") == 0
    kinds = ("segment_type", "event_audio", "clips_scored")
    one, other = (
        {row[3]: row[4] for row in numbers(tmp_path / name) if row[1] == "all" and row[3] in kinds}
        for name in ("trained", "scored")
    )
    assert one == other
    assert "0 epochs" in (tmp_path / "scored" / "card.md").read_text()
    capsys.readouterr()
    assert go(store, tmp_path / "nothing", "valor", "epochs=0") == 2
    assert "epochs = 0 scores weights as they are" in capsys.readouterr().err


def test_pseudo_labels_other_than_0_and_1_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = made_up._values

    def damaged(feature: str, events: made_up.Events) -> np.ndarray:
        value = read(feature, events)
        if feature == "valor-clip-labels":
            value[2, 4, 7] = -1
        return value

    monkeypatch.setattr(made_up, "_values", damaged)
    store = made_up_store(tmp_path, {"train": 8, "val": 2, "test": 2})
    assert go(store, tmp_path / "run", "valor") == 2
    said = capsys.readouterr().err
    assert "valor-clip-labels of llp/00000000002_20_30 has values other than 0 and 1" in said


def test_clips_to_score_need_no_pseudo_labels(tmp_path: Path) -> None:
    counts = {"train": 8, "val": 2, "test": 4}
    store = made_up_store(tmp_path, counts, lacking=range(8, 14), feature="valor-clip-labels")
    assert go(store, tmp_path / "run", "valor") == 0
    assert "| llp | 8 of 8 | 2 of 2 | 4 of 4 |" in (tmp_path / "run" / "card.md").read_text()


def test_a_batch_of_features_is_shown_with_the_shards_that_it_is_read_from(
    store: Path, tmp_path: Path
) -> None:
    assert go(store, tmp_path / "run", "valor", "epochs=1") == 0
    words = ["batch", "show", str(tmp_path / "run"), "--step", "0", "--json"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in shown.output.splitlines()]
    first = [row for row in rows if row["clip_id"] == rows[0]["clip_id"]]
    read = ["vggish.npy", "resnet152.npy", "r2plus1d18.npy"]
    assert [row["members"] for row in first] == [
        *([name] for name in read),
        ["valor-clap-labels.npy"],
        ["valor-clip-labels.npy"],
    ]
    assert len({row["clip_id"] for row in rows}) == 8
    assert all((store / row["shard"]).is_file() for row in rows)
