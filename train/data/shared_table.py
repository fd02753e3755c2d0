"""Share a table of samples between processes."""

import os
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

# Smaller tables are pickled instead of shared.
_SMALL_BYTES = 4 << 20


class SharedTable:
    """An immutable Arrow table that many processes map instead of copying it.

    On Linux its file is anonymous memory, which the kernel frees however the process ends.
    Elsewhere it is a temporary file, removed with the process that made it.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        self._path: str | None = None

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers without nulls, without a copy."""
        found: NDArray[Any] = self.table.column(name).to_numpy()
        return found

    def _shared_path(self) -> str:
        """Return the path where other processes find the table; write it on first use."""
        if self._path is None:
            path, remove = _new_file()
            weakref.finalize(self, remove)
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as writer:
                writer.write_table(self.table)
            self.table, self._path = _map(path), path  # frees the private copy
        return self._path

    def __reduce__(self) -> Any:
        if self.table.nbytes < _SMALL_BYTES:
            return SharedTable, (self.table,)
        return _open, (self._shared_path(),)


def _open(path: str) -> SharedTable:
    return SharedTable(_map(path))


def _map(path: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def _new_file() -> tuple[str, Callable[[], None]]:
    """Return a path for the table, and the function that removes it."""
    if sys.platform == "linux":
        handle = os.memfd_create("avstore-samples")
        return f"/proc/{os.getpid()}/fd/{handle}", lambda: os.close(handle)
    handle, path = tempfile.mkstemp(suffix=".arrow", prefix="avstore-")
    os.close(handle)
    return path, lambda: Path(path).unlink(missing_ok=True)
