"""A stopped run continues to exactly the losses of one that was not stopped."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import duckdb
import pytest

from avstore.manifests.fingerprint import AddedWith
from avstore.train import config, run
from avstore.train.data import Batch
from avstore.train.step import Stepper

SMALL = [
    *("model.width=32", "model.heads=2", "model.depth=1", "model.joint_depth=1"),
    *("model.decoder_width=16", "model.decoder_depth=1", "model.decoder_heads=2"),
    *("model.image_size=32", "model.fbank_frames=256"),
    *("epochs=3", "batch_size=2", "steps_per_checkpoint=1"),
]


SAVED = re.compile(r"checkpoint of step (\d+) saved")
ENDED = re.compile(r"task .* ends after step (\d+)")


class Killed(BaseException):
    """Stands for the end of the process."""


@contextmanager
def dying_before(stop: int | None) -> Iterator[None]:
    """Let the process die before a step."""
    true_step = Stepper.step

    def dies(self: Stepper, batch: Batch, number: int) -> dict[str, float]:
        if number == stop:
            raise Killed
        return true_step(self, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", dies)
        yield


def start(store: Path, out: Path, method: str, *more: str) -> int:
    sets = [word for item in (*SMALL, *more) for word in ("--set", item)]
    return run.main(
        [*("--shards", str(store), "--stream", "two", "--out", str(out)),
         *("--method", method, "--device", "cpu"), *sets]
    )  # fmt: skip


def reached(out: Path, step: int) -> bool:
    """Return whether a run has a checkpoint of that step or a later one."""
    found = (out / "checkpoints").glob("step-*/rank-*.pt")
    return any(int(path.parent.name.removeprefix("step-")) >= step for path in found)


def numbers(out: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(out / "results.duckdb"), read_only=True) as con:
        return con.sql(
            "SELECT trained, task, step, metric, value FROM metrics "
            "WHERE metric NOT IN ('samples_per_second', 'data_wait_share') ORDER BY ALL"
        ).fetchall()


@pytest.mark.parametrize(
    ("method", "stop"), [("finetune", 2), ("stella", 4), ("clser", 4), ("gmed", 5), ("joint", 3)]
)
def test_stopped_and_continued_equals_whole(
    two_task_store: Path, tmp_path: Path, method: str, stop: int
) -> None:
    memory = () if method in ("finetune", "joint") else ("options.memory_size=3",)
    assert start(two_task_store, tmp_path / "whole", method, *memory) == 0
    with pytest.raises(Killed), dying_before(stop):
        start(two_task_store, tmp_path / "half", method, *memory)
    assert start(two_task_store, tmp_path / "half", method, *memory) == 0
    assert numbers(tmp_path / "half") == numbers(tmp_path / "whole")


class LaterConfig(config.Config):
    """The configuration of a later version, with one more key."""

    sampling: Annotated[str, AddedWith("plain")] = "plain"


def test_other_settings_are_refused_by_name_and_new_keys_are_not(
    two_task_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Killed), dying_before(2):
        start(two_task_store, tmp_path / "a", "finetune")
    assert start(two_task_store, tmp_path / "a", "finetune", "optim.lr=1e-2") == 2
    assert "other settings: optim.lr 0.0005 -> 0.01; give" in capsys.readouterr().err
    monkeypatch.setattr(config, "Config", LaterConfig)
    assert start(two_task_store, tmp_path / "a", "finetune", "sampling=weighted") == 2
    assert "other settings: sampling absent -> weighted; give" in capsys.readouterr().err
    assert start(two_task_store, tmp_path / "a", "finetune") == 0
    assert "continuing" in capsys.readouterr().out
    assert start(two_task_store, tmp_path / "a", "finetune", "optim.lr=1e-2") == 2
    assert "other settings: optim.lr 0.0005 -> 0.01; give" in capsys.readouterr().err


def test_a_state_is_saved_once(
    two_task_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A task's last step, then its scores: two states, though every step has a checkpoint."""
    caplog.set_level("INFO", "avstore")
    assert start(two_task_store, tmp_path / "run", "finetune") == 0
    saved = [int(found[1]) for line in caplog.messages if (found := SAVED.search(line))]
    ends = [int(found[1]) for line in caplog.messages if (found := ENDED.search(line))]
    assert saved == sorted([*range(1, ends[-1] + 1), *ends])
