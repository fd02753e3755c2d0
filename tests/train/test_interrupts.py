"""Signals and errors: exit codes and last lines."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from avstore.manifests.store import StoreError
from avstore.train.errors import UserError, exit_code
from avstore.train.interrupts import Interrupted, SignalHandler
from tests.conftest import REPO


def send(number: signal.Signals) -> None:
    """Send a signal to this process, which handles it before the next line."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("lr -1: above 0"), 2, "error: lr -1: above 0"),
        (StoreError("no store"), 2, "error: no store"),
        (OSError(28, "No space left on device", "x.pt"), 4, "error: x.pt: No space left"),
    ],
)
def test_errors_are_a_line_and_a_code(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(_signals: SignalHandler) -> None:
        raise error

    assert exit_code(program, "run it again") == code
    assert capsys.readouterr().err.startswith(line)


def test_an_error_of_the_program_is_a_traceback() -> None:
    def program(_signals: SignalHandler) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        exit_code(program, "run it again")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_end_of_a_deferred_block(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    def program(signals: SignalHandler) -> None:
        with signals.deferred():
            done.append(1)
        with signals.deferred():
            send(number)
            done.append(2)
        done.append(3)

    before = signal.getsignal(number)
    assert exit_code(program, "run it again") == code
    assert signal.getsignal(number) is before
    assert done == [1, 2]
    assert capsys.readouterr().err.endswith("stopped; run it again\n")


def test_a_signal_outside_and_a_second_one_stop_immediately() -> None:
    signals = SignalHandler()
    with signals.installed():
        with pytest.raises(Interrupted) as whole:
            send(signal.SIGTERM)
        with pytest.raises(Interrupted) as half, signals.deferred():
            send(signal.SIGINT)
    assert whole.value.clean
    assert not half.value.clean


def test_a_librarys_error_after_a_signal_is_no_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def program(_signals: SignalHandler) -> None:
        try:
            send(signal.SIGINT)
        except Interrupted:
            raise RuntimeError("unexpected pos 722496") from None

    assert exit_code(program, "run it again") == 130
    assert capsys.readouterr().err == "stopped; run it again\n"


def test_a_full_disk_is_a_line_although_torch_hides_it() -> None:
    """A limit on file sizes instead of a full disk: writing fails in the same place."""
    program = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from avstore.train.checkpoint import save_tensors\n"
        "from avstore.train.errors import exit_code\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "state = {'x': torch.zeros(100_000)}\n"
        "sys.exit(exit_code(lambda _: save_tensors(Path(sys.argv[1]), state), ''))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, str(Path(folder) / "x.pt")],
            cwd=REPO, check=False, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert done.stderr == "error: File too large\n"
