"""The large arrays of a batch: each sample is written where it belongs, and copied no more."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from manifests.store import StoreError
from train.data.buffers import recycled

# Where one sample's array goes, by its shape and type.
Place = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]


class BatchRows:
    """Room for `rows` arrays of one shape and type, made when the first of them says which.

    what: for errors. Threads may ask for rows side by side.
    """

    def __init__(self, rows: int, what: str) -> None:
        self._rows, self._what = rows, what
        self._array: NDArray[Any] | None = None
        self._lock = threading.Lock()

    def row(self, number: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Where the array of a row goes; of another shape than the first: elsewhere."""
        with self._lock:
            if self._array is None:
                self._array = recycled((self._rows, *shape), dtype)
        if self._array.shape[1:] != shape or self._array.dtype != dtype:
            return np.empty(shape, dtype)
        found: NDArray[Any] = self._array[number]
        return found

    def usual(self, number: int) -> NDArray[Any] | None:
        """Where an array as the others goes; None before the first."""
        return None if self._array is None else self._array[number]

    def filled(self, arrays: Sequence[NDArray[Any] | None]) -> Tensor:
        """These arrays, [arrays, …]; empty where there are none. What lies elsewhere (mixed,
        rolled, or further back, after a skipped row) is copied to its row.

        Raises StoreError where they differ in shape or type.
        """
        known = [array for array in arrays if array is not None]
        if not known:
            return torch.empty(0)
        kinds = {(array.shape, str(array.dtype)) for array in known}
        if len(kinds) > 1:
            told = " and ".join(f"{dtype} {list(shape)}" for shape, dtype in sorted(kinds))
            raise StoreError(
                f"{self._what} in one batch are {told}: read one recipe at a time (recipe=), give "
                "frames an image_size"
            )
        (shape, dtype), whole = (known[0].shape, known[0].dtype), self._array
        if whole is None or whole.shape[1:] != shape or whole.dtype != dtype:
            whole = recycled((self._rows, *shape), dtype)
        for row, array in zip(whole, known, strict=False):
            if array.ctypes.data != row.ctypes.data:
                row[:] = array
        return torch.from_numpy(whole[: len(known)])
