"""Show a run's batches, and continue or refuse after the store has changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from avstore.train import run as train_run
from avstore.train.data import BatchSpec, EpochOrder, open_store
from avstore.train.tasks import load_tasks
from tests.conftest import REPO
from tests.train.test_run import small_words


def small_run(store: Path, out: Path, *more: str) -> int:
    """Train in this process, which spares the imports of another; return the exit code."""
    return train_run.main([*small_words(store, out), *more])


def avstore(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avstore", *map(str, words)],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def run(two_task_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run, and a copy of its store that may be changed."""
    folder = tmp_path_factory.mktemp("runs")
    store = shutil.copytree(two_task_store, folder / "store")
    assert small_run(store, folder / "run", "--set", "data.statistics=audioset") == 0
    return store, folder / "run"


def test_any_step_is_shown_as_it_was_trained(run: tuple[Path, Path]) -> None:
    store, folder = run
    samples = load_tasks(open_store(store), "two").tasks[1].train
    spec = BatchSpec(batch_size=2, drop_last=True)
    step = 3 * (len(samples) // 2) + 1  # three epochs of the first task of as many clips, and one
    done = avstore("batch", "show", folder, "--step", step, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    order = EpochOrder(samples, spec, 0, 3 + 1 // (len(samples) // 2))
    expected = order.rows(1 % (len(samples) // 2)).indices
    assert [row["clip_id"] for row in rows] == [samples.clip_ids[i] for i in expected]
    for row in rows:
        assert row["task"] == "barking"
        with (store / row["shard"]).open("rb") as shard:
            shard.seek(row["offset"] - 512)
            name = shard.read(100).rstrip(b"\0").decode()
        key = row["clip_id"].split("/")[1]
        assert name in {f"{key}.{member}" for member in row["members"]}
    beyond = avstore("batch", "show", folder, "--step", 10_000)
    assert beyond.returncode == 2
    assert "step 10000 is not one of the run's" in beyond.stderr
    nothing = avstore("batch", "show", store, "--step", 0)
    assert nothing.returncode == 2
    assert "is not the folder of a run" in nothing.stderr


def test_statistics_by_name_are_used_and_kept(
    run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store, folder = run
    data = json.loads((folder / "run.json").read_text())["config"]["data"]
    assert (data["mean"], data["std"]) == (-4.2677, 4.569)
    done = avstore("stats", "vggsound", "--store", store)
    assert done.returncode == 0, done.stderr
    assert "vggsound-store: mean -" in done.stdout
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        ((name, mean),) = con.execute("SELECT name, mean FROM statistics").fetchall()
    assert name == "vggsound-store"
    assert -20 < mean < 0
    assert small_run(store, folder / "other", "--set", "data.statistics=nosuch") == 2
    assert "known are audioset, vggsound" in capsys.readouterr().err


def test_changed_clips_are_refused_by_name_or_allowed(
    two_task_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, out = shutil.copytree(two_task_store, tmp_path / "store"), tmp_path / "run"
    assert small_run(store, out, "--set", "steps_per_checkpoint=2") == 0
    (out / "results.json").unlink()  # as if the run had been stopped before its report
    gone = load_tasks(open_store(store), "two").tasks[0].train.clip_ids[0]
    with duckdb.connect(str(store / "manifest.duckdb")) as con:
        con.execute("DELETE FROM samples WHERE clip_id = ?", [gone])
    assert small_run(store, out, "--set", "steps_per_checkpoint=2") == 2
    stderr = capsys.readouterr().err
    assert f"banjo, 1 removed ({gone})" in stderr
    assert "--allow-changed-data" in stderr
    more = ("--set", "steps_per_checkpoint=2", "--allow-changed-data")
    assert small_run(store, out, *more) == 0
    shown = avstore("batch", "show", out, "--step", 0, "--json")
    assert gone not in shown.stdout
