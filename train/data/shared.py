"""An Arrow table that many processes read without copying it: one mapped file, the same pages."""

import os
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import pyarrow as pa

# A smaller table is sent along as it is.
_SMALL_BYTES = 4 << 20


class SharedTable:
    """An immutable table, every column in one piece. Sent to another process it is mapped there.

    On Linux the file is anonymous memory: nothing of it is left, however the process ends.
    Elsewhere it is a temporary file that goes with the process that made it.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        self._path: str | None = None

    def _shared(self) -> str:
        """The path under which other processes find the table; written when first asked for."""
        if self._path is None:
            path, forget = _new_file()
            weakref.finalize(self, forget)
            _write(path, self.table)
            self.table, self._path = _map(path), path  # the private copy can go
        return self._path

    def __reduce__(self) -> Any:
        if self.table.nbytes < _SMALL_BYTES:
            return SharedTable, (self.table,)
        return _open, (self._shared(),)


def _open(path: str) -> SharedTable:
    return SharedTable(_map(path))


def _new_file() -> tuple[str, Any]:
    """A path for the table, and what removes it."""
    if sys.platform == "linux":
        handle = os.memfd_create("avstore-samples")
        return f"/proc/{os.getpid()}/fd/{handle}", lambda: os.close(handle)
    handle, path = tempfile.mkstemp(suffix=".arrow", prefix="avstore-")
    os.close(handle)
    return path, lambda: Path(path).unlink(missing_ok=True)


def _write(path: str, table: pa.Table) -> None:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _map(path: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(path)).read_all()
