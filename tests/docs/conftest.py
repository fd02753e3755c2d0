"""A folder as a reader of the docs has it: a clone, with the embedded sample built."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import REPO

_OWN = {".git", ".venv", "data", "runs", "site"}
"""What a clone does not share with the repository that is tested."""


def make_clone(folder: Path) -> Path:
    """Make a folder that has the repository's files, and this environment as `.venv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in REPO.iterdir():
        if path.name not in _OWN:
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="session")
def built_sample(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the sample's store, which the processes of a run build once and share to read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "docs-sample"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            build = [sys.executable, "-m", "avstore", "build", "vggsound", "--store", "data"]
            folder.mkdir(exist_ok=True)
            done = subprocess.run(build, cwd=folder, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            (folder / "done").touch()
    return folder / "data"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone without a store."""
    return make_clone(tmp_path / "clone")


@pytest.fixture
def sample_clone(clone: Path, built_sample: Path) -> Path:
    """Return a clone with the embedded sample in `data`."""
    shutil.copytree(built_sample, clone / "data")
    return clone
