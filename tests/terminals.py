"""Run a command in a terminal, as a person does."""

import os
import pty
import subprocess
from contextlib import suppress


def in_terminal(*words: str, columns: int = 100) -> str:
    """Return what a command prints to a terminal of this width, without colours."""
    ours, its = pty.openpty()
    env = os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    with subprocess.Popen(words, stdout=its, stderr=its, env=env):
        os.close(its)
        said = b""
        with suppress(OSError):  # EIO: the command has ended
            while block := os.read(ours, 1 << 16):
                said += block
    os.close(ours)
    return said.decode().replace("\r\n", "\n")
