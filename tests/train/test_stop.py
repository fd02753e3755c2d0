"""Runs that are killed, told to stop or interrupted: what they say, and that they go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.train.test_resume import SMALL, numbers

SETTINGS = (*SMALL, "epochs=30", "options.memory_size=4")


def command(store: Path, out: Path) -> list[str]:
    sets = [word for item in SETTINGS for word in ("--set", item)]
    return [
        *(sys.executable, "train/run.py", "--shards", str(store), "--stream", "two"),
        *("--out", str(out), "--method", "stella", "--device", "cpu", *sets),
    ]


def stopped(store: Path, out: Path, how: signal.Signals) -> tuple[int, str]:
    """Start a run, send it a signal in the middle of a task; its exit code and what it said."""
    with subprocess.Popen(
        command(store, out), cwd=REPO, stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as run:  # fmt: skip
        deadline = time.monotonic() + 120
        while not any((out / "checkpoints").glob("step-0000000[4-9]/shared.pt")):
            assert run.poll() is None, "it ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(how)
        _, said = run.communicate(timeout=60)
        return run.returncode, said


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_numbers(two_task_store: Path, tmp_path: Path) -> None:
    whole = subprocess.run(
        command(two_task_store, tmp_path / "whole"), cwd=REPO, check=False, capture_output=True
    )
    assert whole.returncode == 0
    for how, code, word in (
        (signal.SIGKILL, -9, ""),
        (signal.SIGTERM, 143, "stopped after step"),
        (signal.SIGINT, 130, "the same command continues"),
    ):
        out = tmp_path / how.name
        returned, said = stopped(two_task_store, out, how)
        assert returned == code
        assert word in said
        assert "Traceback" not in said
        again = subprocess.run(
            command(two_task_store, out), cwd=REPO, check=False, capture_output=True, text=True
        )
        assert again.returncode == 0, again.stderr
        assert "continuing" in again.stdout
        assert numbers(out) == numbers(tmp_path / "whole")
