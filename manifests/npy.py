"""Read .npy files of others: bounded by their size, without pickled objects."""

import io
import math
import tokenize
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# What NumPy's parser of headers raises for a damaged one, beside ValueError.
_DAMAGED = (tokenize.TokenError, SyntaxError, TypeError, ArithmeticError, MemoryError)


class TruncatedError(ValueError):
    """The content is shorter or longer than its header says."""


class PickledError(ValueError):
    """The array holds objects: they would be pickles, which can run code."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header of an .npy file says.

    Attributes:
        start: Where the values start, in bytes.
        shape: Shape of the array.
        fortran: Whether the first axis varies fastest.
        dtype: Type of a value.
    """

    start: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]


def load_npy(content: bytes | memoryview) -> NDArray[np.generic]:
    """Return the array of an .npy file, without a copy.

    Raises:
        ValueError: If the file is damaged, longer or shorter than it says, or holds no numbers.
    """
    layout = read_layout(content)
    shape, dtype, count = layout.shape, layout.dtype, math.prod(layout.shape)
    if min(shape, default=1) < 0 or layout.start + count * dtype.itemsize != len(content):
        raise TruncatedError(f"{len(content)} bytes do not hold an array {shape} of {dtype}")
    array = np.frombuffer(content, dtype, count, offset=layout.start)
    return array.reshape(shape, order="F" if layout.fortran else "C")


def read_layout(content: bytes | memoryview) -> Layout:
    """Return what the header of an .npy file says; `content` may end with the header.

    Raises:
        ValueError: If the header is damaged, or of an array that holds no numbers.
    """
    if bytes(content[:6]) != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("this is no .npy file")
    wide = content[6] > 1
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = (12 if wide else 10) + length
    return Layout(start, *_parse_header(bytes(content[:start])))


@lru_cache(maxsize=4096)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, Fortran order and dtype. Objects are refused: they would be pickles."""
    stream = io.BytesIO(header)
    try:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except (ValueError, *_DAMAGED) as error:
        reason = str(error).splitlines()[:1]
        raise ValueError(f"the .npy header is damaged: {''.join(reason)[:200]}") from error
    if dtype.kind not in "fiub":
        raise PickledError(f"the array holds {dtype}, which are no numbers")
    return shape, fortran, dtype
