"""`python train/reproduce.py`, trackers and progress."""

import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from avstore.train import progress, reproduce, run
from avstore.train.progress import Display, Meter
from tests.train.test_resume import SMALL


def sets(*more: str) -> list[str]:
    return [word for item in (*SMALL, *more) for word in ("--set", item)]


@pytest.mark.slow
def test_methods_are_compared_over_seeds(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--shards", str(two_task_store), "--stream", "two", "--out", str(tmp_path)]
    words += ["--methods", "finetune,er,joint", "--seeds", "2", "--memory", "4", *sets()]
    assert reproduce.main(words) == 0
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert set(comparison) == {"finetune", "er", "joint"}
    assert len(comparison["er"]["average"]) == 2
    assert comparison["joint"]["F(standard)"] == []
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    # Joint training has twice the rows a step, and as many steps.
    joint = json.loads((tmp_path / "joint-0" / "results.json").read_text())["config"]
    assert (joint["batch_size"], joint["epochs"]) == (4, 6)
    assert "± " in capsys.readouterr().out
    assert reproduce.main([*words[:-2], "--set", "epochs=none", "--methods", "joint"]) == 2


def test_tensorboard_gets_losses_and_scores(two_task_store: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["--shards", str(two_task_store), "--stream", "two", "--out", str(tmp_path / "a")]
    assert run.main([*words, "--track", "tensorboard", "--device", "cpu", *sets()]) == 0
    events = EventAccumulator(str(tmp_path / "a" / "tensorboard"))
    events.Reload()
    assert {"loss", "contrast", "eval/a2v_r1", "eval/modality_gap"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("loss")) == 6


def test_a_tracker_that_is_not_installed_is_named(
    two_task_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    words = ["--shards", str(two_task_store), "--stream", "two", "--out", str(tmp_path / "a")]
    assert run.main([*words, "--track", "wandb", *sets()]) == 2
    assert "pip install wandb" in capsys.readouterr().err


def test_waiting_for_data_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])

    def slow():
        for _ in range(3):
            clock[0] += 1.0  # each item arrives after a second
            yield 1

    meter = Meter()
    for _ in meter.timed(slow()):
        meter.samples += 4
        clock[0] += 3.0  # and takes three
    assert meter.wait_share == pytest.approx(3 / 12)
    assert meter.rate == pytest.approx(12 / 12)


def test_progress_shows_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(record=True, force_terminal=False, width=200)
    display = Display(console, total=10, done=0)
    display.meter.started = time.perf_counter() - 40
    display._printed = 0.0  # a line is due
    with display.shown(True):
        display.step("music 1/2", 1.25, 12)
    text = console.export_text()
    assert "step 1/10" in text
    assert "s left" in text
    assert "samples/s" in text
    assert "data wait" in text
