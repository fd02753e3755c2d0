"""HAN and the VALOR models over a store of features alone, by the command."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.pipelines.cli.app import app
from avstore.train import run
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
