"""docs/questions.md: every command prints what the page says, on the embedded sample."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks

PAGE = (DOCS / "questions.md").read_text()


def commands() -> list[tuple[str, list[str]]]:
    """Return the page's commands, each with the lines that it prints."""
    found = []
    for block in blocks(PAGE, ""):
        lines = block.removeprefix("$ ").splitlines()
        end = next(i for i in range(1, len(lines) + 1) if "\n".join(lines[:i]).count('"') % 2 == 0)
        found.append(("\n".join(lines[:end]), lines[end:]))
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the embedded sample's store `data`."""
    folder = tmp_path_factory.mktemp("questions")
    build = [sys.executable, "-m", "avstore", "build", "vggsound", "--store", "data"]
    done = subprocess.run(build, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def matches(expected: str, printed: str) -> bool:
    """Compare a line; `…` stands for anything."""
    pattern = ".*".join(re.escape(part.strip()) for part in expected.split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_prints_what_the_page_says(sample: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    for command, expected in commands():
        done = subprocess.run(
            command,
            cwd=sample, env=environment, shell=True, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        same = len(printed) == len(expected) and all(map(matches, expected, printed))
        assert same, f"{command}\n\nprints:\n{done.stdout}"


def test_the_page_asks_twenty_questions() -> None:
    titles = re.findall(r"^## (\d+)\. .*\?$", PAGE, re.M)
    assert [int(number) for number in titles] == list(range(1, 21))
    assert len(commands()) >= 20
