"""Share Arrow tables between processes, with their columns of numbers as NumPy arrays."""

import os
import sys
import tempfile
import weakref
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from avstore.train.data.arrow_arrays import numbers_of

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

    @cached_property
    def values(self) -> dict[str, NDArray[Any]]:
        """Columns of numbers without nulls, not copied; of a column of lists, all its values."""
        found: dict[str, NDArray[Any]] = {}
        for name, column in self.chunks.items():
            if _is_list(column.type):
                found[name] = numbers_of(column.values)
            elif _is_number(column.type) and column.null_count == 0:
                found[name] = numbers_of(column)
        return found

    @cached_property
    def starts(self) -> dict[str, NDArray[Any]]:
        """By column of lists: where each row's values start in `values`, and the last ones end."""
        lists = {name: chunk for name, chunk in self.chunks.items() if _is_list(chunk.type)}
        return {name: numbers_of(chunk.offsets) for name, chunk in lists.items()}

    @cached_property
    def chunks(self) -> dict[str, pa.Array]:
        """Each column's only chunk."""
        columns = zip(self.table.column_names, self.table.columns, strict=True)
        return {n: x.chunk(0) if x.num_chunks else x.combine_chunks() for n, x in columns}

    def list(self, name: str, index: int) -> NDArray[Any]:
        """Return the values of one row of a column of lists."""
        starts = self.starts[name]
        return self.values[name][starts[index] : starts[index + 1]]

    def _shared_path(self) -> str:
        """Return the path where other processes find the table; write it on first use."""
        if self._path is None:
            path, remove = _new_file()
            weakref.finalize(self, remove)
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as writer:
                writer.write_table(self.table)
            self.table, self._path = _map(path), path
            for cached in ("values", "starts", "chunks"):  # they would keep the private copy alive
                self.__dict__.pop(cached, None)
        return self._path

    def __reduce__(self) -> Any:
        if self.table.nbytes < _SMALL_BYTES:
            return SharedTable, (self.table,)
        return _open, (self._shared_path(),)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    """Return whether it is a list of numbers."""
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(listed) and _is_number(kind.value_type)


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
