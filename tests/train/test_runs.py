"""`avstore runs`, `avstore train` and `--print-config`."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from avstore.train import run
from avstore.train.comparison import grouped, spread
from avstore.train.config import config_names, load_config
from avstore.train.config_text import to_toml
from avstore.train.experiment import check_options
from avstore.train.methods import find_method
from avstore.train.results import Row, flatten, settings_table, write_results
from avstore.train.runs import find_runs
from tests.pipelines.cli.test_build import avstore

TASKS = ["a", "b"]
SCORES = {("finetune", 0): 40.0, ("finetune", 1): 44.0, ("er", 0): 50.0}


def row(name: str, trained: str, task: str | None, metric: str, value: float, step: int) -> Row:
    values = (name, trained, task, step, metric, value)
    return dict(zip(("run", "trained", "task", "step", "metric", "value"), values, strict=True))


def make_run(folder: Path, method: str, seed: int, score: float) -> None:
    """Write what a run of two tasks writes."""
    metrics = [f"{way}_avg" for way in ("a2v", "v2a")]
    rows = [row(folder.name, "a", None, "loss", 1 / (step + 1), step) for step in range(120)]
    rows += [
        row(folder.name, trained, task, metric, score, 1)
        for metric in metrics
        for trained in TASKS
        for task in TASKS
    ]
    config = {"name": "tiny", "method": method, "seed": seed, "stream": "two", "title": folder.name}
    config |= {"optim": {"lr": 1e-4, "betas": [0.9, 0.99]}, "options": {}}
    summary = {"average": score, "forgetting_code": 2.0, "forgetting_standard": None}
    results: dict[str, Any] = {
        "config": config,
        "tasks": TASKS,
        "summary": dict.fromkeys(metrics, summary),
        "finished": "2026-01-01T00:00:00Z",
    }
    folder.mkdir(parents=True)
    write_results(folder, rows, results)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs, a downstream one, and one that has only begun."""
    place = tmp_path_factory.mktemp("made") / "my runs"
    for (method, seed), score in SCORES.items():
        make_run(place / f"{method}-{seed}", method, seed, score)
    (place / "begun").mkdir()
    config = {"name": "tiny", "method": "mir", "seed": 3, "stream": "two"}
    (place / "begun" / "run.json").write_text(json.dumps({"config": config}))
    (place / "down" / "classify").mkdir(parents=True)
    results = {"config": {"name": "classify", "seed": 0}, "scores": {"accuracy": 12.5}}
    write_results(place / "down" / "classify", [], results)
    return place


def test_runs_are_listed(runs: Path) -> None:
    listed = [
        json.loads(line) for line in avstore("runs", "list", runs, "--json").stdout.split("\n")[:-1]
    ]
    assert [each["run"] for each in listed] == [
        "begun", "down/classify", "er-0", "finetune-0", "finetune-1",
    ]  # fmt: skip
    assert listed[0] == {
        "run": "begun", "finished": False, "name": "tiny", "method": "mir", "stream": "two",
        "seed": 3, "scores": {},
    }  # fmt: skip
    assert listed[2]["scores"] == {"average": 50.0, "F(code)": 2.0}
    shown = avstore("runs", "list", runs).stdout.splitlines()
    assert shown[0].split() == [
        "run", "config", "method", "stream", "seed", "finished", "average", "F(code)",
        "F(standard)", "score",
    ]  # fmt: skip
    assert shown[4].split() == ["finetune-0", "tiny", "finetune", "two", "0", "yes", "40.0", "2.0"]


def test_runs_are_compared_over_seeds(runs: Path, tmp_path: Path) -> None:
    folders = [runs / f"{method}-{seed}" for method, seed in SCORES]
    shown = avstore("runs", "compare", *folders).stdout.splitlines()
    assert [line.split("  ") for line in shown[:1]]
    assert shown[0].split() == ["method", "runs", "average", "F(code)"]
    assert shown[1].split() == ["er", "1", "50.0", "2.0"]
    assert shown[2].split() == ["finetune", "2", "42.0", "±", "2.8", "2.0", "±", "0.0"]
    for suffix in ("csv", "md", "tex"):
        avstore("runs", "compare", *folders, "--output", tmp_path / f"table.{suffix}")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert rows[1]["method"] == "finetune"
    assert float(rows[1]["average std"]) == pytest.approx(8**0.5)
    assert "| er | 1 | 50.0 | 2.0 |" in (tmp_path / "table.md").read_text()
    latex = (tmp_path / "table.tex").read_text()
    assert r"finetune & 2 & 42.0 $\pm$ 2.8 & 2.0 $\pm$ 0.0 \\" in latex
    refused = avstore("runs", "compare", runs, "--output", "table.doc", check=False)
    assert refused.returncode == 2
    assert "does not end in .csv, .md or .tex" in refused.stderr


def test_runs_are_plotted(runs: Path, tmp_path: Path) -> None:
    for suffix in ("png", "svg"):
        avstore("runs", "plot", runs, "--output", tmp_path / f"new/all.{suffix}")
        assert (tmp_path / f"new/all.{suffix}").stat().st_size > 5000
    refused = avstore("runs", "plot", runs / "begun", check=False)
    assert refused.returncode == 2
    assert "no run is finished" in refused.stderr


def test_runs_are_queried(runs: Path, tmp_path: Path) -> None:
    query = (
        'SELECT method, "optim.lr" AS lr, avg(value) AS score FROM runs JOIN metrics USING (run) '
        "WHERE metric = 'a2v_avg' GROUP BY ALL ORDER BY method"
    )
    done = avstore("runs", "sql", query, "--runs", runs, "--json").stdout.splitlines()
    assert [json.loads(line) for line in done] == [
        {"method": "er", "lr": 1e-4, "score": 50.0},
        {"method": "finetune", "lr": 1e-4, "score": 42.0},
    ]
    write = f"COPY runs TO '{tmp_path}/runs.csv'"
    assert avstore("runs", "sql", write, "--runs", runs, check=False).returncode == 2
    assert not list(tmp_path.iterdir())
    with duckdb.connect(str(runs / "er-0" / "results.duckdb"), read_only=True) as con:
        found = con.execute('SELECT run, method, seed, "optim.betas" FROM runs').fetchall()
    assert found == [("er-0", "er", 0, "[0.9, 0.99]")]


def test_folders_that_hold_no_run_are_refused(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text('{"config": 3}')
    for folder, reason in (
        (tmp_path / "absent", "there is no folder"),
        (runs / "begun" / "checkpoints", "there is no folder"),
        (tmp_path / "damaged", "is not the record of a run"),
    ):
        done = avstore("runs", "list", folder, check=False)
        assert done.returncode == 2
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_spread_and_types_of_columns() -> None:
    assert spread([3.0]) == (3.0, 0.0)
    table = settings_table([{"a": 1, "b": True, "c": "x"}, {"a": 2.5, "c": 3, "d": None}])
    assert table.to_pylist() == [
        {"a": 1.0, "b": True, "c": "x", "d": None},
        {"a": 2.5, "b": None, "c": "3", "d": None},
    ]
    assert flatten({"a": {"b": {"c": 1}}, "d": None}) == {"a.b.c": 1, "d": None}


def test_only_complete_runs_are_grouped(runs: Path) -> None:
    groups = grouped(find_runs([runs]))
    assert [(g.settings.get("method"), g.seeds) for g in groups] == [
        (None, [0]),
        ("er", [0]),
        ("finetune", [0, 1]),
    ]


@pytest.mark.parametrize("name", config_names())
def test_a_printed_config_is_the_same_config(name: str, tmp_path: Path) -> None:
    config = load_config(name, {}, [])
    options = check_options(find_method(config.method), config)
    path = tmp_path / f"{name}.toml"
    path.write_text(to_toml(config.model_copy(update={"options": options})))
    again = load_config(str(path), {}, [])
    assert check_options(find_method(again.method), again) == options
    assert again.model_copy(update={"options": options}) == config.model_copy(
        update={"options": options}
    )


def test_print_config_needs_no_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--print-config", "--method", "er", "--set", "optim.lr=0.5"]) == 0
    shown = capsys.readouterr().out
    assert "lr = 0.5" in shown
    assert 'method = "er"' in shown
    assert run.main(["--print-config", "--set", "optim.weight_deca=1"]) == 2
    assert "did you mean 'weight_decay'" in capsys.readouterr().err


def test_avstore_train_is_the_trainer(tmp_path: Path) -> None:
    assert 'method = "er"' in avstore("train", "--print-config", "--method", "er").stdout
    shown = avstore("train", "-h").stdout
    assert shown.startswith("usage: avstore train")
    done = avstore("train", "--shards", tmp_path / "absent", check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
