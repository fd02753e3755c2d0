"""The large arrays of a batch: each sample is written where it belongs, and copied no more."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from avstore.manifests.store import StoreError
from avstore.train.data.buffers import recycled

# Where one sample's array goes, by its shape and type.
Place = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]


class BatchRows:
    """Room for `rows` arrays of one shape and type, made when the first of them says which.

    what: for errors. Threads may ask for rows side by side.
    """

    def __init__(self, rows: int, what: str) -> None:
        self._rows, self._what = rows, what
        self._array: NDArray[Any] | None = None
        self._given: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()

    def row(self, number: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Where the array of a row goes; of another shape than the first: elsewhere."""
        with self._lock:
            if self._array is None:
                self._array = recycled((self._rows, *shape), dtype)
        if self._array.shape[1:] != shape or self._array.dtype != dtype:
            return np.empty(shape, dtype)
        return self._give(self._array, number)

    def usual(self, number: int) -> NDArray[Any] | None:
        """Where an array as the others goes; None before the first."""
        return None if self._array is None else self._give(self._array, number)

    def _give(self, array: NDArray[Any], number: int) -> NDArray[Any]:
        found: NDArray[Any] = array[number]
        self._given[number] = found
        return found

    def filled(self, arrays: Sequence[NDArray[Any] | None]) -> Tensor:
        """These arrays, [arrays, …]; empty where there are none. What lies elsewhere (mixed,
        rolled, or further back, after a skipped row) is copied to its row.

        Raises StoreError where they differ in shape or type.
        """
        known = [array for array in arrays if array is not None]
        if not known:
            return torch.empty(0)
        shape, dtype = known[0].shape, known[0].dtype
        if any(array.shape != shape or array.dtype != dtype for array in known):
            kinds = {(array.shape, str(array.dtype)) for array in known}
            told = " and ".join(f"{dtype} {list(shape)}" for shape, dtype in sorted(kinds))
            raise StoreError(
                f"{self._what} in one batch are {told}: read one recipe at a time (recipe=), give "
                "frames an image_size"
            )
        whole, given = self._array, self._given
        if whole is None or whole.shape[1:] != shape or whole.dtype != dtype:
            whole, given = recycled((self._rows, *shape), dtype), {}
        for number, array in enumerate(known):
            if given.get(number) is not array:
                whole[number] = array
        return torch.from_numpy(whole[: len(known)])
