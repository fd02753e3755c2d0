"""The fbanks of a batch in one array, each written where it belongs and copied no more."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manifests.store import StoreError


class FbankRows:
    """Room for `rows` fbanks of `frames` frames; made when the first one says how wide they are."""

    def __init__(self, rows: int, frames: int) -> None:
        self._shape = (rows, frames)
        self._array: NDArray[np.float32] | None = None

    def row(self, number: int, mels: int) -> NDArray[np.float32]:
        """Where the fbank of a row goes, float32 [frames, mels]. Raises StoreError for another
        width than that of the rows before."""
        if self._array is None:
            self._array = np.empty((*self._shape, mels), np.float32)
        if self._array.shape[2] != mels:
            raise StoreError(
                f"fbanks have {self._array.shape[2]} and {mels} bins in one batch: read one recipe "
                "at a time (recipe=)"
            )
        row: NDArray[np.float32] = self._array[number]
        return row

    def filled(self, fbanks: Sequence[NDArray[np.float32] | None]) -> Tensor:
        """float32 [rows given, frames, mels]; empty where there are none. What was changed after
        it was written to its row (mixed, rolled) is copied there."""
        known = [fbank for fbank in fbanks if fbank is not None]
        if not known:
            return torch.empty(0)
        for number, fbank in enumerate(known):
            row = self.row(number, fbank.shape[1])
            if fbank.ctypes.data != row.ctypes.data:
                row[:] = fbank
        assert self._array is not None
        return torch.from_numpy(self._array[: len(known)])
