"""`import avstore` and the command start fast: libraries are imported when they are used."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import avstore
from avstore.pipelines.cli.app import COMMANDS, load_command
from tests.conftest import REPO

# Typer brings pydantic and rich.
HEAVY = (
    *("aiohttp", "av", "avstore.datasets.audioset_table", "dask", "distributed", "duckdb"),
    *("fsspec", "h5py", "jinja2", "matplotlib", "numpy", "pandas", "pyarrow", "torch", "yt_dlp"),
)
_RUN = """
import atexit, json, os, sys
sys.argv = ["avstore", *{words!r}]

@atexit.register
def report():
    sys.stdout.flush()
    times = os.times()
    modules = [name for name in {heavy!r} if name in sys.modules]
    print(json.dumps([times.user + times.system, modules]), file=sys.stderr)

{code}
"""
_COMMAND = "from avstore.__main__ import main; main()"


def cost(code: str, *words: str) -> tuple[float, list[str]]:
    """Return CPU seconds (the best of 3 processes) and the heavy modules that are loaded."""
    seconds, modules = [], []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _RUN.format(code=code, words=words, heavy=HEAVY)],
            check=True,
            capture_output=True,
            text=True,
        )
        second, modules = json.loads(done.stderr.splitlines()[-1])
        seconds.append(second)
    return min(seconds), modules


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its words, such as ("features build", command)."""
    for name in COMMANDS:
        command = load_command(name)
        children = getattr(command, "commands", None)
        if children is None:
            yield name, command
        else:
            yield from ((f"{name} {child}", children[child]) for child in children)


def test_import_avstore_is_fast() -> None:
    seconds, modules = cost("import avstore; dir(avstore); avstore.__version__")
    assert modules == []
    assert seconds < 0.3


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_the_command_is_fast(words: list[str]) -> None:
    seconds, modules = cost(_COMMAND, *words)
    assert modules == []
    assert seconds < 0.5


def test_help_of_a_command_is_fast() -> None:
    """The commands with the most options and imports; the others only have to load the same."""
    for words in (["build", "--help"], ["features", "build", "--help"], ["exchange", "--help"]):
        seconds, modules = cost(_COMMAND, *words)
        assert modules == [], words
        assert seconds < 1.0, words


def test_no_command_imports_a_heavy_library_before_it_runs() -> None:
    code = f"from avstore.pipelines.cli.app import load_command as f; [f(n) for n in {[*COMMANDS]}]"
    assert cost(code)[1] == []


def test_the_names_of_avstore_are_those_of_its_rooms() -> None:
    from avstore.train import data

    assert set(avstore.__all__) <= set(dir(avstore))
    for name in ("BatchSpec", "Loader", "open_store", "sample_list"):
        assert getattr(avstore, name) is getattr(data, name)
    with pytest.raises(AttributeError, match="module 'avstore' has no attribute 'nope'"):
        avstore.nope  # noqa: B018


def test_there_is_one_version() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "avstore.__version__"}
    for words in (["-m", "avstore", "--version"], ["-m", "avstore", "sql", "--help"]):
        done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        assert done.stderr == ""
        assert ("--version" not in words) or done.stdout == f"avstore {avstore.__version__}\n"
    assert f"## [{avstore.__version__}]" in (REPO / "CHANGELOG.md").read_text()
    assert f"version: {avstore.__version__}" in (REPO / "CITATION.cff").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_lines_of_their_help(name: str) -> None:
    assert load_command(name).help.splitlines()[0] == COMMANDS[name]


def test_every_module_with_a_command_is_in_the_list() -> None:
    folder = REPO / "pipelines/cli"
    modules = {path.stem for path in folder.glob("*.py") if "\napp = " in path.read_text()}
    assert modules - {"app"} == COMMANDS.keys()


def test_every_command_has_an_example_that_can_be_called() -> None:
    for name, command in commands():
        assert command.epilog.startswith(f"Example: avstore {name}"), name
        words = shlex.split(command.epilog.removeprefix("Example: avstore "))
        arguments = words[len(name.split()) :]
        assert command.make_context(name, arguments), name


def test_every_option_has_help() -> None:
    for name, command in commands():
        for parameter in command.params:
            assert parameter.help, (name, parameter.name)
            assert parameter.help[0].isupper(), (name, parameter.name)
            assert parameter.help[-1] in ".)", (name, parameter.name)


def test_the_environment_names_the_store(tmp_path: os.PathLike[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "avstore", "status"],
        env=os.environ | {"AVSTORE_STORE": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr


def test_a_tree_that_lost_its_links_says_so(tmp_path: Path) -> None:
    package = tmp_path / "avstore"
    package.mkdir()
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(REPO / "avstore" / name, package)
    (package / "pipelines").write_text("../pipelines")
    command = [sys.executable, "-m", "avstore", "sql", "SELECT 1"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "lost its symbolic links" in done.stderr
    assert done.stderr.count("\n") == 1
