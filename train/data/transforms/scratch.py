"""Room to finish one fbank in: used again for the next, it is found in the processor's cache."""

import threading

import numpy as np
import torch
from numpy.typing import NDArray

# So few values torch converts in this thread; for more it would wake others.
_SERIAL = 32_768


class Bench:
    """One thread's. stored: float16 [frames, mels], to read into."""

    def __init__(self, frames: int, mels: int) -> None:
        self.stored: NDArray[np.float16] = np.empty((frames, mels), np.float16)
        self._wide: NDArray[np.float32] = np.empty((frames, mels), np.float32)
        rows = max(1, _SERIAL // mels)
        parts = (torch.split(torch.from_numpy(x), rows) for x in (self.stored, self._wide))
        self._parts = list(zip(*parts, strict=True))

    def widened(self, kept: int) -> NDArray[np.float32]:
        """What was read, as float32: the first `kept` frames, then zeros. Until the next fbank."""
        self.stored[kept:] = 0
        for some, wide in self._parts:  # torch does it several times faster than NumPy
            wide.copy_(some)
        return self._wide


class _Benches(threading.local):
    def __init__(self) -> None:
        self.of: dict[tuple[int, ...], Bench] = {}


_BENCHES = _Benches()


def bench(shape: tuple[int, ...]) -> Bench:
    """This thread's for fbanks of [frames, mels]."""
    if shape not in _BENCHES.of:
        _BENCHES.of.clear()
        _BENCHES.of[shape] = Bench(*shape)
    return _BENCHES.of[shape]
