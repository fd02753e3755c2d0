"""Derived features: rows in time, fitted, of unit length, rolled together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fit(value: NDArray[Any], rows: int | None, unit: bool) -> NDArray[Any]:
    """A feature [n, …] with `rows` rows (zeros at the end, or cut); None leaves it as it is.

    unit: divide each row by its L2 norm; rows of zeros stay (UAVM's feat_norm). float32 then.
    Raises ValueError for a single number.
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
    values: Mapping[str, NDArray[Any]], most: int, generator: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Roll all features in time by the same integer in [-most, most) (UAVM, spec 3.9)."""
    shift = int(generator.integers(-most, most))
    return {name: np.roll(value, shift, axis=0) for name, value in values.items()}
