"""Recipes, task streams and configs made to harm are refused in one line."""

from pathlib import Path

import pytest

from avstore.manifests.foreign_files import read_toml
from avstore.manifests.store import Store
from avstore.pipelines.extract.recipe import RecipeError, load_recipe
from avstore.train import evaluate, run
from avstore.train.config import read_config
from avstore.train.errors import UserError
from tests.faults.outside import avstore, bounded

RECIPE = """
name = "x"
title = "x"
source = "x"
[frames]
sampling = "count"
count = 10
size = 224
"""


def changed(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new)


RECIPES = {
    "frames": changed("count = 10", "count = 1000000000"),
    "rate": RECIPE + "[audio]\nrate = 1000000000000\n",
    "mels": RECIPE + "[fbank]\nmels = 1000000\n",
    "negative": changed("size = 224", "size = -224"),
    "nan": "duration_s = nan\n" + RECIPE,
    "inf": "duration_s = inf\n" + RECIPE,
    "size": changed("size = 224", "size = 1000000"),
    "times": changed('"count"\ncount = 10', '"times"\ntimes = [' + "1.0, " * 20_000 + "]"),
    "name": changed('name = "x"', 'name = "../../x"'),
    "name of another kind": changed('name = "x"', "name = [1]"),
    "long name": changed('name = "x"', f'name = "{"x" * 5000}"'),
    "deep": RECIPE + "[quality]\nreject = " + "[" * 5000 + "]" * 5000,
    "deep keys": RECIPE + ".".join("a" * 20_000) + " = 1",
    "bytes": "\xff\xfe",
    "long value": changed("count = 10", f'count = "{"x" * 1_000_000}"'),
    "large": "# " + "x" * (5 << 20) + "\n" + RECIPE,
}


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_recipes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(RECIPES[kind], encoding="latin-1" if kind == "bytes" else "utf-8")
    bounded(lambda: load_recipe(path), RecipeError, "")
    done = avstore("recipe", "check", path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


STREAM = 'name = "{name}"\n[queries]\ntrain = """{query}"""\n[[tasks]]\ntask = "{task}"\n'


def stream(name: str = "s", query: str = "SELECT clip_id FROM clips", task: str = "a") -> str:
    return STREAM.format(name=name, query=query, task=task)


STREAMS = {
    "path": stream(name="../../x"),
    "absolute": stream(name="/etc/x"),
    "markup name": stream(name="[/red]"),
    "long name": stream(name="x" * 5000),
    "file": stream(query="SELECT clip_id FROM read_csv('/etc/passwd')"),
    "two statements": stream(query="SELECT 1 AS clip_id; DROP TABLE clips"),
    "drop": stream(query="DROP TABLE clips"),
    "escape": stream(query="SELECT 1 AS clip_id); DROP TABLE clips; SELECT * FROM (SELECT 1"),
    "attach": stream(query="ATTACH 'x.duckdb' AS y"),
    "tasks": 'name = "s"\ntasks = "x"\n',
    "tasks of numbers": 'name = "s"\ntasks = [1, 2]\n',
    "name of another kind": "name = 1\ntasks = []\n",
    "queries": 'name = "s"\nqueries = 1\ntasks = [{task = "a"}]\n',
    "query": 'name = "s"\ntasks = [{task = "a", queries = {train = 1}}]\n',
    "labels": 'name = "s"\ntasks = [{task = "a", labels = 1}]\n',
    "deep": "x = " + "[" * 5000 + "]" * 5000,
    "circle": 'name = "s"\nextends = "{path}"\n',
    "extends": 'name = "s"\nextends = [1]\n',
    "from": 'name = "s"\ntasks = [{from = "../../etc/passwd:x"}]\n',
    "generate": 'name = "s"\n[generate]\nkind = "class-incremental"\ndataset = 1\n',
    "generate much": 'name = "s"\n[generate]\nkind = "class-incremental"\n'
    'dataset = "vggsound"\ntasks = 1000000000\nseed = 0\n',
    "large": "# " + "x" * (5 << 20),
}


@pytest.mark.parametrize("kind", sorted(STREAMS))
def test_task_streams(tmp_path: Path, store: Store, kind: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(STREAMS[kind].replace("{path}", str(path)))
    done = avstore("tasks", "add", path, "--store", store.root)
    assert done.returncode == 2
    assert done.stderr.startswith("avstore: ")
    assert "Traceback" not in done.stderr
    # A query that is refused is printed below the message.
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert avstore("verify", "--store", store.root).returncode == 0


def test_a_task_with_markup_is_text(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "x.toml"
    path.write_text(stream(task="[/red] '; DROP TABLE clips"))
    assert avstore("tasks", "add", path, "--store", store.root).returncode == 0
    assert "[/red]" in avstore("tasks", "show", "s", "--store", store.root).stdout


CONFIGS = {
    "deep": "x = " + "[" * 5000 + "]" * 5000,
    "circle": 'extends = "{path}"',
    "extends": "extends = [1]",
    "large": "# " + "x" * (5 << 20),
    "bytes": "\xff",
}


@pytest.mark.parametrize("kind", sorted(CONFIGS))
@pytest.mark.parametrize("program", [run, evaluate])
def test_configs(
    tmp_path: Path, kind: str, program: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(CONFIGS[kind].replace("{path}", str(path)), encoding="latin-1")
    bounded(lambda: read_config(str(path)), UserError)
    code = program.main(["--config", str(path), "--shards", str(tmp_path), "--out", str(tmp_path)])
    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


CONFIG_VALUES = (
    'method = "../../x"',
    "steps = -1",
    "[optim]\nlr = nan",
    "[optim]\nlr = 1e400",
    "batch_size = 1000000000000",
    "seed = -1",
    "unknown = 1",
    "[model]\ndepth = 1000000000",
)


@pytest.mark.parametrize("text", CONFIG_VALUES)
def test_values_of_configs(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.toml"
    path.write_text(f'extends = "smoke"\n{text}\n')
    words = ["--config", str(path), "--shards", str(tmp_path), "--out", str(tmp_path / "out")]
    assert run.main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_toml_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"x = [" + b"1, " * (40 << 20))
    bounded(lambda: read_toml(tmp_path / "x.toml"), ValueError, "larger than")
