"""Fit, normalise and roll derived features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
