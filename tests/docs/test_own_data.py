"""The example of docs/own-data.md, run as it is printed."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.docs.pages import DOCS, blocks
from tests.docs.test_commands import command_lines
from tests.media import make_clip

PAGE = (DOCS / "own-data.md").read_text()


def run(line: str, folder: Path) -> str:
    program, *words = shlex.split(line)
    if program == "avstore":
        command = [sys.executable, "-m", "avstore", *words]
    else:
        command = [sys.executable, str(REPO / words[0]), *words[1:]]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    make_clip(tmp_path / "videos" / "garden.mp4", 6, seed=1)
    make_clip(tmp_path / "videos" / "forest walk.mp4", 12, seed=2, tone_hz=500)
    (tmp_path / "birds.csv").write_text(blocks(PAGE, "csv")[0])
    printed = {line: run(line, tmp_path) for line in command_lines(PAGE)}
    assert len(printed) == 5
    query = next(text for line, text in printed.items() if "SELECT" in line)
    expected = blocks(PAGE, "text")[0]
    assert [line.split() for line in query.splitlines()] == [
        line.split() for line in expected.splitlines()
    ]
    (tmp_path / "birds.csv").unlink()
    again = run("avstore build birds --store data", tmp_path)
    assert "3 wanted = 3 stored" in again
