"""Parse stored arrays; fit, normalise and roll derived features."""

import io
import math
import tokenize
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# What NumPy's parser of headers raises for a damaged one, beside ValueError.
_DAMAGED = (tokenize.TokenError, SyntaxError, TypeError, ArithmeticError, MemoryError)


def load_npy(content: memoryview) -> NDArray[np.generic]:
    """Return the array of an .npy file, without a copy.

    Raises:
        ValueError: If the file is damaged, longer or shorter than it says, or holds no numbers.
    """
    if bytes(content[:6]) != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("this is no .npy file")
    wide = content[6] > 1
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = (12 if wide else 10) + length
    shape, fortran, dtype = _parse_header(bytes(content[:start]))
    count = math.prod(shape)
    if min(shape, default=1) < 0 or start + count * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes do not hold an array {shape} of {dtype}")
    array = np.frombuffer(content, dtype, count, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=4096)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, Fortran order and dtype. Objects are refused: they would be pickles."""
    stream = io.BytesIO(header)
    try:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except _DAMAGED as error:
        raise ValueError(f"the .npy header is damaged: {error}") from error
    if dtype.kind not in "fiub":
        raise ValueError(f"the array holds {dtype}, which are no numbers")
    return shape, fortran, dtype


def fit(value: NDArray[Any], rows: int | None, unit: bool) -> NDArray[Any]:
    """Cut a feature or pad it with zeros, and normalise its rows.

    Args:
        value: [n, …].
        rows: Rows of the result; None leaves them.
        unit: Divide each row by its L2 norm, and return float32; rows of zeros stay (UAVM's
            feat_norm).

    Raises:
        ValueError: If the feature is a single number.
    """
    if not value.ndim:
        raise ValueError("a feature is an array with rows, and this is a single number")
    if rows is not None and len(value) != rows:
        fitted = np.zeros((rows, *value.shape[1:]), value.dtype)
        fitted[: min(rows, len(value))] = value[:rows]
        value = fitted
    if unit:
        value = value.astype(np.float32)
        norm = np.linalg.norm(value, axis=-1, keepdims=True)
        value = value / np.where(norm > 0, norm, 1)
    return value


def roll(
    values: Mapping[str, NDArray[Any]], limit: int, generator: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Roll all features in time by the same integer of [-limit, limit), as UAVM's code does."""
    shift = int(generator.integers(-limit, limit))
    return {name: np.roll(value, shift, axis=0) for name, value in values.items()}
