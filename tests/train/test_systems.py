"""Systems by name, settings of the loader in configs, scores after epochs."""

import json
from pathlib import Path

import duckdb
import pytest
import torch

from avstore.train import run
from avstore.train.config import load_config
from avstore.train.data import BatchSpec
from avstore.train.errors import UserError
from avstore.train.experiment import batch_spec, build_stepper, check_options
from avstore.train.methods import find_method
from tests.train.test_resume import Killed, dying_before, numbers, start


@pytest.mark.parametrize(
    ("config", "sets", "message"),
    [
        (
            "tiny",
            ["system=uav"],
            "no system 'uav' (did you mean 'uavm'?); there are: avsa, avsa_pairs, "
            "avsa_segmentation, avsa_action, cavmae, uavm, convnext, valor, "
            "valor_events, or give module:NAME",
        ),
        ("tiny", ["select=best"], 'select = best needs evaluate = "epoch"'),
        ("tiny", ["average=[1,2]"], 'average needs evaluate = "epoch"'),
        ("tiny", ["optim.schedule=plateau"], 'optim.schedule = plateau needs evaluate = "epoch"'),
        ("tiny", ["evaluate=epoch", "average=[3,200]"], "average = [3, 200] is no range in epochs"),
        ("tiny", ["objective.loss=ce"], "objective.loss: there is no such setting"),
        ("uavm", ["objective.los=ce"], "did you mean 'loss'"),
        ("uavm", ["model.patch=8"], "model.patch: there is no such setting"),
        ("uavm", ["model.heads=3"], "cannot divide width by heads"),
        ("tiny", ["data.on_bad=skip"], "Input should be 'raise' or 'replace'"),
        (
            "tiny",
            ["data.shuffle=listed"],
            "Input should be 'full', 'block', 'sequential' or 'videos'",
        ),
    ],
)
def test_wrong_settings_are_named(config: str, sets: list[str], message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_config(config, {}, sets)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("config", "setting"), [("tiny", "data.mixup=0.5"), ("uavm", "data.freq_mask=48")]
)
def test_settings_that_mean_nothing_to_a_system_are_refused(config: str, setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(UserError, match=f"{name} means nothing to the system"):
        batch_spec(load_config(config, {}, [setting]), training=True)


@pytest.mark.parametrize(
    ("config", "setting"), [("tiny", "optim.head_lr=10.0"), ("uavm_tiny", "optim.layer_decay=0.5")]
)
def test_rates_of_parts_that_a_system_lacks_are_refused(config: str, setting: str) -> None:
    loaded = load_config(config, {}, [setting])
    method = find_method("finetune")
    options = check_options(method, loaded)
    with pytest.raises(UserError, match=f"{setting.partition('=')[0]} means nothing to"):
        build_stepper(loaded, method, options, torch.device("cpu"))


def test_settings_reach_the_loader() -> None:
    sets = ["data.freq_mask=48", "data.time_mask=192", "data.frame_choice=segment"]
    spec = batch_spec(load_config("tiny", {}, sets), training=True)
    assert (spec.augment.freq_mask, spec.augment.time_mask) == (48, 192)
    assert spec.frame_choice == "segment"
    uavm = batch_spec(load_config("uavm", {}, ["data.mixup=0.25"]), training=True)
    assert isinstance(uavm, BatchSpec)
    assert uavm.features == uavm.read == ("convnext-audio", "convnext-visual")
    assert (uavm.augment.mixup, uavm.augment.feature_roll, uavm.smoothing) == (0.25, 15, 0.1)
    assert (uavm.feature_rows, uavm.feature_norm, uavm.classes) == (30, True, 309)


def test_published_switches_are_those_of_the_system() -> None:
    assert load_config("uavm", {}, ["fidelity=published"]).optim.zero_gradients
    assert not load_config("stella", {}, ["fidelity=published"]).optim.zero_gradients


@pytest.mark.parametrize("order", ["shuffle=block", "shuffle=sequential", "balanced=true"])
def test_a_run_in_another_order(two_task_store: Path, tmp_path: Path, order: str) -> None:
    assert start(two_task_store, tmp_path / "run", "er", f"data.{order}", "epochs=1") == 0


def test_the_best_epoch_is_reported_and_a_stopped_run_selects_the_same(
    two_task_store: Path, tmp_path: Path
) -> None:
    settings = ("evaluate=epoch", "select=best", "optim.schedule=plateau", "optim.lr=1e-2")
    assert start(two_task_store, tmp_path / "whole", "joint", *settings) == 0
    with pytest.raises(Killed), dying_before(4):
        start(two_task_store, tmp_path / "half", "joint", *settings)
    assert start(two_task_store, tmp_path / "half", "joint", *settings) == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")
    with duckdb.connect(str(tmp_path / "whole/results.duckdb"), read_only=True) as con:
        rows = con.sql(
            "SELECT task, step, avg(value) FROM metrics WHERE metric IN ('a2v_avg', 'v2a_avg') "
            "AND task IN ('epoch', 'all') GROUP BY ALL"
        ).fetchall()
    epochs = {step: value for task, step, value in rows if task == "epoch"}
    assert sorted(epochs) == [3, 6, 9]
    ((_, _, final),) = [row for row in rows if row[0] == "all"]
    assert final == max(epochs.values())


def test_weights_are_selected_in_runs_of_one_task_only(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("evaluate=epoch", "average=[1,2]")
    assert start(two_task_store, tmp_path / "run", "finetune", *settings) == 2
    assert "this has 2; leave them out" in capsys.readouterr().err


def test_all_settings_of_another_system_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["--config", "uavm", "--print-config"]) == 0
    text = capsys.readouterr().out
    assert "audio_share = 0.5" in text
    (tmp_path / "again.toml").write_text(text)
    again = load_config(str(tmp_path / "again.toml"), {}, [])
    first = load_config("uavm", {}, [])
    assert json.loads(again.model_dump_json(exclude={"name"})) == json.loads(
        first.model_dump_json(exclude={"name"})
    )
