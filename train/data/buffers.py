"""Provide the memory of large arrays: rows of the batch itself, used again when nobody holds it."""

import math
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from avstore.manifests.store import StoreError

# Arrays over stored bytes are read-only and only read from. torch warns of the first one in a
# process: here, where nobody sees it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.from_numpy(np.frombuffer(b"\0", np.uint8))

# torch works on no more values than this in the calling thread; for more it would start others.
SERIAL_VALUES = 32_768
_MAX_RECYCLED = 8
# Smaller arrays are given pages that the process has used before, by malloc.
_MIN_RECYCLED_BYTES = 1 << 20
_ARRAYS: list[NDArray[Any]] = []
_LOCK = threading.Lock()
_ALIGNMENT = 64


def _references(arrays: list[NDArray[Any]], place: int) -> int:
    return sys.getrefcount(arrays[place])


# References to an array that only the list holds; measured, because Python versions differ.
_IDLE_REFERENCES = _references([np.empty(0)], 0)


def recycled(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array with arbitrary content: one that nobody holds any more, or a new one.

    Fresh pages cost more than what is written to them. Tensors, views and memoryviews of an array
    hold it, so no array is returned while it can be seen. At most 8 are kept, of 1 MiB or more.
    """
    dtype = np.dtype(dtype)
    if _ARENAS and (given := _ARENAS[-1].take(shape, dtype)) is not None:
        return given
    if math.prod(shape) * dtype.itemsize < _MIN_RECYCLED_BYTES:
        return np.empty(shape, dtype)
    with _LOCK:
        for place in range(len(_ARRAYS)):
            alike = _ARRAYS[place].shape == shape and _ARRAYS[place].dtype == dtype
            if alike and _references(_ARRAYS, place) == _IDLE_REFERENCES:
                return _ARRAYS[place]
        array: NDArray[Any] = np.empty(shape, dtype)
        _ARRAYS.append(array)
        del _ARRAYS[:-_MAX_RECYCLED]
        return array


class Arena:
    """Memory that others share, from which `recycled` takes arrays while it is used.

    Args:
        memory: uint8 [bytes].
    """

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """Return an array with arbitrary content, or None if it does not fit."""
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            start = self._taken
            if not size or start + size > len(self._memory):
                return None
            self._taken = aligned(start + size)
        return self._memory[start : start + size].view(dtype).reshape(shape)

    def place_of(self, tensor: Tensor) -> int | None:
        """Return where in the memory a tensor starts; None if it is elsewhere."""
        place = tensor.data_ptr() - self._memory.ctypes.data
        return place if 0 <= place < len(self._memory) else None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let `recycled` of all threads take its arrays from here."""
        _ARENAS.append(self)
        try:
            yield
        finally:
            _ARENAS.remove(self)


_ARENAS: list[Arena] = []


def aligned(size: int) -> int:
    """Round a number of bytes up to where the next array may start."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _reset_after_fork() -> None:
    """Replace the lock: another thread may have held it when the process was forked."""
    global _LOCK  # noqa: PLW0603 -- one for the process
    _LOCK = threading.Lock()
    _ARRAYS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


class _ThreadScratch(threading.local):
    def __init__(self) -> None:
        self.array: NDArray[np.float32] = np.empty((0, 0), np.float32)


_SCRATCH = _ThreadScratch()


def scratch(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return this thread's float32 array, valid until the next call; it stays in the CPU cache."""
    if _SCRATCH.array.shape != shape:
        _SCRATCH.array = np.empty(shape, np.float32)
    return _SCRATCH.array


def widen(halves: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert rows of float16 into `out`, in this thread; ten times as fast as NumPy.

    Args:
        halves: float16 [n, …].
        out: The same shape.
    """
    rows = max(1, SERIAL_VALUES // max(1, halves[:1].size))
    source, target = torch.from_numpy(halves), torch.from_numpy(out)
    for start in range(0, len(halves), rows):
        target[start : start + rows].copy_(source[start : start + rows])
    return out


class BatchBuffer:
    """The memory of one field of a batch; threads may write its rows at the same time.

    The first row sets the shape and dtype of all.

    Args:
        rows: Rows of the batch.
        field: What they hold, for errors.
    """

    def __init__(self, rows: int, field: str) -> None:
        self._rows, self._field = rows, field
        self._array: NDArray[Any] | None = None
        self._given: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()

    def row(self, number: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return the memory of a row; a separate array if shape or dtype differ from the first."""
        with self._lock:
            if self._array is None:
                self._array = recycled((self._rows, *shape), dtype)
        if self._array.shape[1:] != shape or self._array.dtype != dtype:
            return np.empty(shape, dtype)
        row: NDArray[Any] = self._array[number]
        self._given[number] = row
        return row

    def known_row(self, number: int) -> NDArray[Any] | None:
        """Return the memory of a row, or None as long as no row has set shape and dtype."""
        if self._array is None:
            return None
        return self.row(number, self._array.shape[1:], self._array.dtype)

    def stack(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        """Stack arrays to a tensor [len(arrays), …]; those already in their row are not copied.

        Arrays in another place (mixed, rolled, or moved up after a skipped row) are copied.

        Raises:
            StoreError: If the arrays differ in shape or dtype.
        """
        shape, dtype = arrays[0].shape, arrays[0].dtype
        if any(array.shape != shape or array.dtype != dtype for array in arrays):
            kinds = sorted({(array.shape, str(array.dtype)) for array in arrays})
            listed = " and ".join(f"{dtype} {list(shape)}" for shape, dtype in kinds)
            raise StoreError(
                f"{self._field} of one batch must be alike, and are {listed}: read one recipe at a "
                "time (recipe=), and set image_size"
            )
        target, given = self._array, self._given
        if target is None or target.shape[1:] != shape or target.dtype != dtype:
            target, given = recycled((self._rows, *shape), dtype), {}
        for number, array in enumerate(arrays):
            if given.get(number) is not array:
                target[number] = array
        return torch.from_numpy(target[: len(arrays)])


@dataclass(frozen=True, slots=True)
class OutputBuffers:
    """Where a sample's large arrays are written.

    Attributes:
        row: Row of the batch.
        frames: Memory of the batch's frames.
        fbanks: Memory of the batch's fbanks.
        features: Memory of each derived feature of the batch, by name.
    """

    row: int
    frames: BatchBuffer
    fbanks: BatchBuffer
    features: Mapping[str, BatchBuffer]
