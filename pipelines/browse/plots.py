"""Plots as shapes: templates draw them, and no script is needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 640, 200
_POINTS = 200


@dataclass(frozen=True)
class Plot:
    """A curve in a picture of 640 by 200.

    Attributes:
        points: Value of the attribute `points` of an SVG polyline.
        low: Smallest value.
        high: Largest value.
        last: Largest step.
    """

    points: str
    low: float
    high: float
    last: float


def losses_plot(losses: Sequence[tuple[float, float]]) -> Plot | None:
    """Return the curve of a loss by step, at most 200 means of it; None without any."""
    finite = np.array([pair for pair in losses if np.isfinite(pair[1])], dtype=np.float64)
    if not len(finite):
        return None
    parts = np.array_split(finite, min(_POINTS, len(finite)))
    steps, values = np.array([part.mean(0) for part in parts]).T
    low, high = float(values.min()), float(values.max())
    last = float(finite[:, 0].max())
    across = WIDTH * steps / (last or 1.0)
    down = HEIGHT - HEIGHT * (values - low) / ((high - low) or 1.0)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return Plot(points, low, high, last)


def matrix_cells(matrix: Sequence[Sequence[float]]) -> list[list[tuple[float, int]]]:
    """Return the values of a matrix, each with its shade from 0 to 10."""
    values = [value for row in matrix for value in row if np.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = (high - low) or 1.0
    return [
        [(v, round(10 * (v - low) / span) if np.isfinite(v) else 0) for v in row] for row in matrix
    ]
