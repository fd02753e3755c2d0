"""Errors that are the user's to mend: one line, no traceback, exit code 2."""

import errno
from pathlib import Path


class UserError(Exception):
    """What was wrong, the value, and what to do about it, in one line."""


def make_folder(folder: Path) -> None:
    """Make a folder to write to. Raises UserError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError, PermissionError) as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise UserError(f"{folder} cannot be a folder: {reason}; name another (--out)") from error


def machine_words(error: OSError) -> str:
    """What failed, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    todo = "; free some space and run the same command again" * (error.errno == errno.ENOSPC)
    return f"{where}{error.strerror or error}{todo}"


def first_line(error: BaseException) -> str:
    """Of libraries that go on for paragraphs."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ", 1)[0]
