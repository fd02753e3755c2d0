"""Memory of large arrays used again: fresh pages cost more than what is written to them."""

import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MOST = 4
_ARRAYS: list[NDArray[Any]] = []
_LOCK = threading.Lock()


def _holders(arrays: list[NDArray[Any]], place: int) -> int:
    return sys.getrefcount(arrays[place])


# What an array counts that only the list holds; measured, for Python versions count differently.
_IDLE = _holders([np.empty(0)], 0)


def recycled(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of this shape with any content: one that nobody holds any more, or a new one.

    Tensors, views and memoryviews of an array hold it, so that what was given out is never
    written to while it can be seen. At most 4 arrays are kept.
    """
    wanted = np.dtype(dtype)
    with _LOCK:
        for place in range(len(_ARRAYS)):
            alike = _ARRAYS[place].shape == shape and _ARRAYS[place].dtype == wanted
            if alike and _holders(_ARRAYS, place) == _IDLE:
                return _ARRAYS[place]
        made: NDArray[Any] = np.empty(shape, wanted)
        _ARRAYS.append(made)
        del _ARRAYS[:-_MOST]
        return made


def _forget() -> None:
    """A forked process begins anew: another thread may have held the lock."""
    global _LOCK  # noqa: PLW0603 -- one a process
    _LOCK = threading.Lock()
    _ARRAYS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
