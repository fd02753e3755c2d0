"""The pages about datasets: cards are what the command prints, the example dataset is built."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.datasets import registry
from avstore.manifests.library import open_store
from avstore.pipelines.cli.datasets import app
from tests.conftest import REPO
from tests.media import make_clip
from tests.servers.media_server import MediaServer

PAGE = (REPO / "docs/datasets.md").read_text()
SNIPPET = next(
    code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "birds.py" in code
)


def card(*words: str) -> str:
    done = CliRunner().invoke(app, ["card", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_list_has_them_all() -> None:
    done = CliRunner().invoke(app, ["list"])
    assert [name for name in registry.own_names() if name not in done.stdout] == []


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with the page's dataset, three clips and one row that cannot be used."""
    (tmp_path / "birds.py").write_text(SNIPPET)
    rows = [("aaa", "wren", "train"), ("bbb", "great tit", "test"), ("ccc", "blackbird", "train")]
    for number, (name, _, _) in enumerate(rows):
        make_clip(tmp_path / "videos" / f"{name}_000005.mp4", seed=number)
    lines = [f"{name},5,{species},{split}" for name, species, split in rows]
    (tmp_path / "birds.csv").write_text("\n".join([*lines, "ddd,5,wrn,train"]) + "\n")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "from avstore.pipelines.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_the_dataset_of_the_page_is_built_and_short(beside: Path) -> None:
    assert len(SNIPPET.splitlines()) < 100
    words = ["--source", "videos", "--annotations", "birds.csv", "--store", "data"]
    done = run(beside, "build", "birds:BIRDS", *words, "--workers", "1")
    assert done.returncode == 0, done.stderr
    with open_store(str(beside / "data")) as store:
        rows = store.query("SELECT key, labels[1] AS label FROM trainable ORDER BY key").rows()
    assert [(row["key"], row["label"]) for row in rows] == [
        ("aaa_000005", "wren"),
        ("bbb_000005", "great tit"),
        ("ccc_000005", "blackbird"),
    ]
    assert "wren" in done.stdout + done.stderr  # the row that cannot be used, with the nearest name
    told = run(beside, "datasets", "card", "birds:BIRDS", "--store", "data")
    assert "| train | 2 | 2 | 0 | 0 |" in told.stdout


def test_annotation_files_come_from_their_address_where_none_are_given(beside: Path) -> None:
    with MediaServer(beside) as server:
        address = f"{server.url}/ok/birds.csv"
        code = SNIPPET.replace("annotation_urls=()", f"annotation_urls=({address!r},)")
        (beside / "birds.py").write_text(code)
        words = ["build", "birds:BIRDS", "--source", "videos", "--store", "data", "--workers", "1"]
        done = run(beside, *words)
        assert done.returncode == 0, done.stderr
    record = json.loads((beside / "data/annotations/birds/sources.json").read_text())
    assert record["birds.csv"]["url"] == address
    again = run(beside, *words)  # nobody answers there any more, and nobody has to
    assert again.returncode == 0, again.stderr
    (beside / "data/annotations/birds/birds.csv").unlink()
    lost = run(beside, *words)
    assert lost.returncode == 2
    assert address in lost.stderr
    assert "ANNOTATIONS=" in lost.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brids", "did you mean"),
        ("nosuchmodule:X", "cannot be loaded"),
        ("birds:NOTHING", "cannot be loaded"),
        ("birds:SPECIES", "is a tuple, not an avstore.datasets.spec.DatasetSpec"),
    ],
)
def test_what_is_no_dataset_is_one_line(beside: Path, name: str, message: str) -> None:
    done = run(beside, "build", name, "--store", "data")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
