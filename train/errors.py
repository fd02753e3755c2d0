"""Errors that the user can mend, and the exit codes of the trainer's programs."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from avstore.manifests.errors import describe_os_error
from avstore.manifests.path_text import printable_text
from avstore.manifests.store import StoreError
from avstore.train.interrupts import Interrupted, SignalHandler


class UserError(Exception):
    """An error that the user can mend: one line, no traceback, exit code 2."""


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        UserError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError, PermissionError) as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise UserError(
            f"the folder {folder} cannot be created: {reason}; give another --out"
        ) from error


def exit_code(program: Callable[[SignalHandler], None], how_to_continue: str) -> int:
    """Run a program and return its exit code.

    Args:
        program: Called with the handler of SIGINT and SIGTERM.
        how_to_continue: Printed after an interrupt.

    Returns:
        0, or 2 for a `UserError` or `StoreError`, 4 for an error of disk or permissions, and 128
        plus the signal's number after an interrupt: 130 (SIGINT, Ctrl-C) or 143 (SIGTERM).
    """
    signals = SignalHandler()
    with signals.installed():
        try:
            program(signals)
        except (Exception, Interrupted, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                signals.received = signal.SIGINT
            if signals.received is None:
                return _failure(error)
            # A library that is interrupted may raise an error of its own instead.
            message = error if isinstance(error, Interrupted) else "stopped"
            print(f"{message}; {how_to_continue}", file=sys.stderr)
            return 128 + signals.received
    return 0


def _failure(error: BaseException) -> int:
    if isinstance(error, UserError | StoreError):
        print(f"error: {printable_text(str(error))}", file=sys.stderr)
        return 2
    if isinstance(error, OSError):
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 4
    raise error
