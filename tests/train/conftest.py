"""A small store with two tasks, built by the command once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from avstore.manifests.tasks import create_task_view
from tests.conftest import REPO
from tests.media import make_clip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models are quicker with one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def two_task_store(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return a store of two tasks, which the processes of a run build once and share to read."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "two-task-store"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            _build_two_tasks(folder)
            (folder / "done").touch()
    return folder / "data"


def _build_two_tasks(folder: Path) -> None:
    """Build ten clips of two classes by the command, and add a stream with a task for each."""
    rows = []
    labels = ("playing banjo", "dog barking")
    for index in range(10):
        name = f"train{index:06d}"
        make_clip(folder / "videos" / f"{name}_000000.mp4", tone_hz=200 + 80 * index, seed=index)
        rows.append(f"{name},0,{labels[index % 2]},{'test' if index > 5 else 'train'}")
    (folder / "vggsound.csv").write_text("\n".join(rows) + "\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "avstore", "build", "vggsound"),
            *("--source", str(folder / "videos"), "--annotations", str(folder / "vggsound.csv")),
            *("--store", str(folder / "data")),
        ],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    _add_stream(folder / "data")


def _add_stream(root: Path) -> None:
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.lock import writing
    from avstore.manifests.store import Store

    store = Store(root)
    with writing(store), open_write(store) as writer:
        for position, label in enumerate(("playing banjo", "dog barking")):
            for role, split in (("train", "train"), ("retrieval", "test")):
                query = (
                    "SELECT clip_id FROM trainable WHERE labels[1] = "
                    f"'{label}' AND split = '{split}'"
                )
                writer.con.execute(
                    "INSERT INTO tasks VALUES ('two', ?, ?, ?, ?)",
                    [position, label.split()[-1], role, query],
                )
        create_task_view(writer.con)
        writer.publish()
