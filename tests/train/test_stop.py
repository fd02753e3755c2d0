"""Runs that are killed, terminated or interrupted: what they print, and that they continue."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.train.test_resume import SMALL, numbers, reached

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
SETTINGS = (*SMALL, "epochs=12", "options.memory_size=4")


def command(store: Path, out: Path, *more: str) -> list[str]:
    sets = [word for item in SETTINGS for word in ("--set", item)]
    return [
        *(sys.executable, "train/run.py", "--shards", str(store), "--stream", "two"),
        *("--out", str(out), "--method", "stella", "--device", "cpu", *sets, *more),
    ]


def stopped(store: Path, out: Path, how: signal.Signals, *more: str) -> tuple[int, str]:
    """Start a run and signal its process group, as a terminal does; return exit code and stderr."""
    with subprocess.Popen(
        command(store, out, *more), cwd=REPO, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, env=ONE_THREAD,
        start_new_session=True,
    ) as run:  # fmt: skip
        deadline = time.monotonic() + 200
        while not reached(out, 4):
            assert run.poll() is None, "it ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(run.pid, how)
        _, stderr = run.communicate(timeout=200)
        return run.returncode, stderr


@pytest.fixture(scope="module")
def whole(two_task_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is not stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(
        command(two_task_store, out), cwd=REPO, check=True, capture_output=True, env=ONE_THREAD
    )
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "word", "more"),
    [
        (signal.SIGKILL, -9, "", ()),
        (signal.SIGTERM, 143, "stopped after step", ()),
        (signal.SIGINT, 130, "the same command continues", ()),
        (signal.SIGINT, 130, "stopped after step", ("--workers", "1")),
    ],
)
def test_stopped_runs_continue_to_the_same_numbers(
    two_task_store: Path, whole: Path, tmp_path: Path,
    how: signal.Signals, code: int, word: str, more: tuple[str, ...],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    returned, stderr = stopped(two_task_store, out, how, *more)
    assert returned == code, stderr
    assert word in stderr
    assert len(stderr.splitlines()) <= 3, stderr  # where it stopped, and how to continue
    again = subprocess.run(
        command(two_task_store, out, *more),
        cwd=REPO, check=False, capture_output=True, text=True, env=ONE_THREAD,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "continuing" in again.stdout
    assert numbers(out) == numbers(whole)
