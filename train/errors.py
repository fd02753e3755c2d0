"""Errors that are the user's to mend: one line, no traceback, exit code 2."""

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
