"""`python train/evaluate.py --init RUN`: classification after each task, average and forgetting."""

import io
import json
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from avstore.train import evaluate
from avstore.train import run as train_run
from avstore.train.results import Row
from avstore.train.run_plots import plot_runs
from avstore.train.runs import read_run
from avstore.train.task_matrix import Measure, report_matrix
from tests.train.test_resume import SMALL

HEAD = ["precision=fp32", "data.workers=0", "batch_size=2", "epochs=1", "windows=[3.0]"]


@pytest.fixture(scope="module")
def trained(two_task_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of FLAVA on two tasks."""
    out = tmp_path_factory.mktemp("runs") / "flava"
    sets = [word for item in (*SMALL, "epochs=2") for word in ("--set", item)]
    words = ["--shards", str(two_task_store), "--stream", "two", "--method", "flava", *sets]
    assert train_run.main([*words, "--out", str(out), "--device", "cpu"]) == 0
    return out


def go(store: Path, init: Path, out: Path, *more: str, config: str = "classify") -> int:
    sets = [word for item in HEAD for word in ("--set", item)]
    words = ["--shards", str(store), "--config", config, "--init", str(init), "--out", str(out)]
    return evaluate.main([*words, "--device", "cpu", *sets, *more])


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_every_checkpoint_of_a_run_is_classified(
    two_task_store: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a"
    assert go(two_task_store, trained, out) == 0
    shown = capsys.readouterr().out
    assert "Classification after each task: accuracy, %" in shown
    assert "forgetting F(standard)" in shown
    for name in ("matrix.png", "metrics.parquet", "results.duckdb"):
        assert (out / name).stat().st_size > 1000
    parts = [results(out / name) for name in ("task-01", "task-02")]
    a = [[part["by_task"][task]["accuracy"] for task in ("banjo", "barking")] for part in parts]
    for part, line in zip(parts, a, strict=True):  # two clips of each task
        assert part["scores"]["accuracy"] == pytest.approx(sum(line) / 2)
    with duckdb.connect(str(out / "results.duckdb"), read_only=True) as con:
        sql = "SELECT value FROM metrics WHERE metric = 'accuracy' ORDER BY step, task"
        assert [value for (value,) in con.sql(sql).fetchall()] == [*a[0], *a[1]]
    whole = results(out)
    assert (whole["tasks"], whole["headline"]) == (["banjo", "barking"], "accuracy")
    summary = whole["summary"]["accuracy"]
    assert summary["average"] == pytest.approx(sum(a[1]) / 2)
    assert summary["forgetting_code"] == pytest.approx(sum(a[0]) - sum(a[1]))
    assert summary["forgetting_standard"] == pytest.approx(a[0][0] - a[1][0])
    run = read_run(out, "a")
    assert run.tasks == ("banjo", "barking")
    assert run.scores["F(standard)"] == pytest.approx(a[0][0] - a[1][0])
    plot_runs(tmp_path / "runs.png", [run])
    # Again: nothing is trained, and the same is written. One checkpoint by itself is the same.
    assert go(two_task_store, trained, out) == 0
    assert capsys.readouterr().out.count("finished already") == 2
    assert results(out)["summary"] == whole["summary"]
    words = ("--stream", "two")
    assert go(two_task_store, trained / "task-02.pt", tmp_path / "b", *words) == 0
    assert results(tmp_path / "b")["by_task"] == parts[1]["by_task"]


def test_average_and_forgetting_by_hand(tmp_path: Path) -> None:
    matrix = [[90, 10, 5], [70, 80, 15], [50, 60, 75]]
    tasks = ["one", "two", "three"]
    rows: list[Row] = [
        {"run": "r", "trained": trained, "task": task, "step": k, "metric": "map", "value": value}
        for k, (trained, line) in enumerate(zip(tasks, matrix, strict=True))
        for task, value in zip(tasks, line, strict=True)
    ]
    measure = Measure("Classification", "mAP", "mAP", ("map",), {"map": "mAP"}, None)
    text = io.StringIO()
    report_matrix(tmp_path, rows, tasks, measure, {"config": {}}, Console(file=text, width=120))
    summary = results(tmp_path)["summary"]["map"]
    assert summary["average"] == pytest.approx((50 + 60 + 75) / 3)
    # Over all tasks, the best before the last training: 90, 80 and 15.
    assert summary["forgetting_code"] == pytest.approx((40 + 20 - 60) / 2)
    # Over all tasks but the last, the best since it was trained: 90 and 80.
    assert summary["forgetting_standard"] == pytest.approx((40 + 20) / 2)
    assert "61.67" in text.getvalue()


@pytest.mark.parametrize(
    ("more", "config", "message"),
    [
        (("--stream", "other"), "classify", "was trained on stream 'two', not 'other'"),
        ((), "retrieval", "config 'retrieval' (task 'retrieval') has no scores by task"),
    ],
)
def test_what_has_no_matrix_is_refused(
    two_task_store: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    config: str,
    message: str,
) -> None:
    assert go(two_task_store, trained, tmp_path / "x", *more, config=config) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_unfinished_run_is_refused(
    two_task_store: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    part.mkdir()
    for name in ("task-01.pt",):
        (part / name).write_bytes((trained / name).read_bytes())
    assert go(two_task_store, part, tmp_path / "x") == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    (part / "results.json").write_bytes((trained / "results.json").read_bytes())
    (part / "task-01.pt").unlink()
    assert go(two_task_store, part, tmp_path / "x") == 2
    assert "has 0 checkpoints (task-*.pt) of 2 task(s)" in capsys.readouterr().err
