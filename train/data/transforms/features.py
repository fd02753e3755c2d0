"""Fit, normalise and roll derived features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.buffers import widen


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
        value = float32(value)
        norm = np.linalg.norm(value, axis=-1, keepdims=True)
        value = np.divide(value, np.where(norm > 0, norm, 1))
    return value


def float32(value: NDArray[Any]) -> NDArray[np.float32]:
    """Return a feature as float32: itself, if it is."""
    if value.dtype == np.float16 and value.flags.c_contiguous:
        return widen(value, np.empty(value.shape, np.float32))
    return value.astype(np.float32, copy=False)


def roll(value: NDArray[Any], shift: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Roll rows by `shift` of them, into `out` if it is given; it must not be `value`."""
    out = np.empty_like(value) if out is None else out
    shift %= max(1, len(value))
    out[shift:] = value[: len(value) - shift]
    out[:shift] = value[len(value) - shift :]
    return out
