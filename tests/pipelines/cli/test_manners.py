"""What every command has in common: --json, -q, -v, -h, nearest names, pipes, paths."""

import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from avstore import __version__
from avstore.manifests import commands, terminal
from avstore.manifests.store import Store
from avstore.pipelines.build.annotations import annotation_files
from avstore.pipelines.cli.app import COMMANDS, load_command, main
from avstore.pipelines.cli.build import annotation_paths
from avstore.pipelines.cli.tables import print_table
from avstore.train.config import load_config
from avstore.train.errors import UserError
from tests.conftest import REPO
from tests.manifests.conftest import store  # noqa: F401

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget -q and --json of the test before."""
    monkeypatch.setattr(terminal, "_hidden", set())


def call(capsys: Capture, *words: str | Path) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, output and errors."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["avstore", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
    shown = capsys.readouterr()
    return int(end.value.code or 0), shown.out, shown.err


LISTINGS = {
    "tasks list": {"stream", "title", "tasks", "stored"},
    "datasets list": {"dataset", "title", "classes", "recipe", "streams"},
    "recipe list": {"recipe", "fingerprint", "frames", "video", "audio", "title"},
    "recipe show stella": {"name", "fingerprint", "frames", "audio", "fbank"},
    "features list": {"extractor", "version", "reads", "bases", "shape", "parameters"},
    "snapshot list": {"name", "created_at", "clips", "samples", "shards", "sha256", "note"},
    "snapshot diff first": {"what", "added", "removed", "changed", "examples"},
    "snapshot open first": {"dataset", "stage", "wanted"},
    "gc": {"path", "bytes", "why", "removed"},
    "retry toy --where true --dry-run": {"clip_id", "class", "message", "marked"},
    "sql FROM+clips": {"clip_id", "labels"},
    "verify": {"where", "what"},
    "index": {"sidecars", "moved", "restored", "sealed", "commands"},
    "drop toy STAGE": {"dataset", "stage", "shards"},
}


def test_every_listing_has_json_with_its_documented_keys(store: Store, capsys: Capture) -> None:  # noqa: F811
    call(capsys, "snapshot", "create", "first", "--store", store.root)
    (store.shards / "toy").joinpath("lost.tar").parent.mkdir(exist_ok=True)
    stage = next((store.shards / "toy").iterdir())
    (stage / ".left.tmp").write_text("x")
    (stage / "extra.tar").write_text("x")
    for line, keys in LISTINGS.items():
        words = [word.replace("+", " ") for word in line.replace("STAGE", stage.name).split()]
        local = [] if line.startswith(("datasets", "recipe")) else ["--store", str(store.root)]
        code, out, _ = call(capsys, *words, "--json", *local)
        rows = [json.loads(row) for row in out.splitlines()]
        assert code == (1 if line == "verify" else 0), line
        assert rows, line
        if line in {"snapshot diff first"}:
            continue
        assert all(keys <= row.keys() for row in rows[:1]), (line, rows[0])
        page = (REPO / "docs/command-line.md").read_text()
        assert [key for key in keys if f"`{key}`" not in page and line != "sql FROM+clips"] == []


def test_every_command_that_prints_rows_has_json() -> None:
    for line in LISTINGS:
        name, *rest = line.split()
        command = load_command(name)
        command = getattr(command, "commands", {}).get(rest[0] if rest else "", command)
        assert "--json" in [word for param in command.params for word in param.opts], line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("stauts", "status"),
        ("build vggsuond", "did you mean 'vggsound'"),
        ("build vggsound --stroe x", "--store"),
        ("build vggsound --fetch-option rate_per_hr=1", "did you mean 'rate_per_hour'"),
        ("build vggsound --recipe stela", "did you mean 'stella'"),
        ("recipe show stela", "did you mean 'stella'"),
        ("report toyy", "did you mean 'toy'"),
        ("availability export toyy x.csv", "did you mean 'toy'"),
        ("snapshot open frist", "did you mean 'first'"),
        ("drop toy SToGE", "did you mean"),
        ("features build resnet151", "did you mean 'resnet152'"),
        ("sql FROM+trainble", 'Did you mean "trainable"'),
        ("sql SELECT+clip_idd+FROM+clips", '"clip_id"'),
        ("retry toy --where clas=1", "class"),
        ("tasks add vggsound-9", "did you mean 'vggsound-8'"),
    ],
)
def test_the_nearest_name_is_suggested(
    store: Store,  # noqa: F811
    capsys: Capture,
    words: str,
    hint: str,
) -> None:
    call(capsys, "snapshot", "create", "first", "--store", store.root)
    stage = next((store.shards / "toy").iterdir()).name
    line = words.replace("SToGE", f"{stage}x").split()
    place = [] if line[0] in {"stauts", "recipe"} else ["--store", str(store.root)]
    code, _, errors = call(capsys, *(word.replace("+", " ") for word in line), *place)
    assert code == 2
    assert hint in errors


@pytest.mark.parametrize(
    ("setting", "hint"),
    [("optim.lrr=1", "did you mean 'lr'"), ("epoch=1", "did you mean 'epochs'")],
)
def test_the_nearest_setting_of_the_trainer_is_suggested(setting: str, hint: str) -> None:
    with pytest.raises(UserError, match=re.escape(hint)):
        load_config("tiny", {}, [setting])
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        load_config("tinyy", {}, [])


def test_help_and_version(capsys: Capture) -> None:
    assert call(capsys, "-V")[1] == call(capsys, "--version")[1] == f"avstore {__version__}\n"
    assert "Exit codes:" in call(capsys, "-h")[1]
    for words in (["build", "-h"], ["tasks", "-h"], ["tasks", "list", "-h"]):
        code, out, _ = call(capsys, *words)
        assert (code, "Usage: avstore" in out) == (0, True), words
    for words in ([], ["tasks"]):  # no arguments: help, as for a wrong call
        assert call(capsys, *words)[0] == 2


def test_quiet_and_verbose(store: Store, capsys: Capture) -> None:  # noqa: F811
    assert "verify: " in call(capsys, "verify", "--store", store.root)[1]
    assert "verify: " not in call(capsys, "verify", "-q", "--store", store.root)[1]
    before = logging.getLogger().handlers[:]
    try:
        call(capsys, "sql", "SELECT 1", "-v", "--store", store.root)
        assert logging.getLogger().level <= logging.INFO or before
    finally:
        logging.getLogger().handlers[:] = before


def run(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=folder,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        | environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_closed_pipe_is_silent(store: Store) -> None:  # noqa: F811
    for form in ("csv", "json", "table"):
        line = f"avstore sql 'FROM range(300000)' --limit 0 --format {form}"
        done = run(f"{line} --store {store.root} | head -c 10; exit ${{PIPESTATUS[0]}}", store.root)
        assert done.stderr == ""
        assert done.returncode in {0, 141}


def test_completion_knows_commands_and_options(tmp_path: Path) -> None:
    for words, number, expected in (
        ("avstore ver", 1, "verify"),
        ("avstore tasks sh", 2, "show"),
        ("avstore build --sto", 2, "--store"),
        ("avstore build vgg", 2, "vggsound"),
        ("avstore build vggsound --recipe uavm_p", 4, "uavm_published"),
        ("avstore tasks add sample-", 3, "sample-4"),
    ):
        done = run(
            "avstore",
            tmp_path,
            _AVSTORE_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(number),
        )
        assert done.stdout.split() == [expected], done.stderr
    # The shell is looked for among the parents, so it must not be replaced by the command.
    shown = run("avstore --show-completion bash; true", tmp_path).stdout
    assert "complete -o default" in shown


def test_home_is_expanded_in_options_and_environment(
    store: Store,  # noqa: F811
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(store.root.parent))
    assert call(capsys, "verify", "--store=~/store")[0] == 0
    monkeypatch.setenv("AVSTORE_STORE", "~/store")
    assert call(capsys, "verify")[0] == 0
    assert terminal.expand_home(["SELECT '~'", "--out=~/x"]) == [
        "SELECT '~'",
        f"--out={store.root.parent}/x",
    ]


def test_an_annotation_file_may_have_a_comma(tmp_path: Path) -> None:
    odd = tmp_path / "a,b.csv"
    odd.write_text("")
    assert annotation_paths([str(odd), "c.csv, d.csv"]) == (odd, Path("c.csv"), Path("d.csv"))


def test_a_folder_gives_its_annotation_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.csv", "sources.json", "README.md"):
        (tmp_path / "lists" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "lists" / name).write_text("")
    (tmp_path / "none").mkdir()
    given = annotation_paths([f"{tmp_path}/lists,{tmp_path}/none", "c.csv"])
    found = annotation_files(given)
    names = [str(path.relative_to(tmp_path)) for path in found[:-1]]
    assert names == ["lists/a.csv", "lists/b.txt", "none"]
    assert found[-1] == Path("c.csv")


def test_tables_are_never_cut(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    print_table(["id", "text"], [["vggsound/" + "x" * 90, "[/red] :smile:"], ["音", "b"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"vggsound/{'x' * 90}  [/red] :smile:"
    assert lines[2].index("b") == 100  # the wide character takes two columns
    assert len(lines) == 3


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.console().color_system is None


def test_a_pipe_is_no_terminal_in_jupyter_either(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter's kernels do
    assert not terminal.console().is_terminal
    print_table(["id"], [["a"]])
    assert capsys.readouterr().out.split() == ["id", "a"]


def test_pip_lines_of_the_docs_name_extras_that_exist() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys()
    pages = [REPO / "README.md", *(REPO / "docs").glob("*.md")]
    code = [p for room in ("manifests", "pipelines", "train") for p in (REPO / room).rglob("*.py")]
    for path in (*pages, *code):
        text = path.read_text()
        for found in re.findall(r"\[([a-z0-9,]+)\]'?`?\)?", " ".join(_pip_lines(text))):
            assert set(found.split(",")) <= extras, (path, found)
        assert "pip install 'avstore[" not in text, path  # avstore is installed from a clone
    line = commands.pip("s3")
    assert line.endswith("-m pip install -e '.[s3]'") or "avstore[s3]" in line


def _pip_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if "pip install" in line]


def test_all_commands_take_the_common_options() -> None:
    for name in COMMANDS:
        command = load_command(name)
        for each in getattr(command, "commands", {"": command}).values():
            opts = {word for param in each.params for word in param.opts}
            assert {"-q", "--quiet", "-v", "--verbose"} <= opts, (name, each.name)
