"""Average score and average forgetting of a task × task matrix (spec 5.2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def gap_difference(gaps: NDArray[np.float64]) -> float | None:
    """How far the modality gap of tasks has shrunk again: mean over t < T of the largest
    gap[k, t] - gap[T, t] over trainings k (spec 5.3). None for a single training or task."""
    if len(gaps) < 2 or gaps.shape[1] < 2:
        return None
    return float((gaps.max(0) - gaps[-1])[:-1].mean())


@dataclass(frozen=True)
class Summary:
    """In the unit of the matrix. forgetting: None for a single task or a single training."""

    average: float
    forgetting_code: float | None
    forgetting_standard: float | None


def summarise(matrix: NDArray[np.float64]) -> Summary:
    """matrix[k, t]: score on task t after training on task k.

    average: mean over tasks after the last. forgetting_code: as the published numbers are
    computed, 1/(T-1) Σ over all t of max over k < T of (a[k,t] - a[T,t]), with the last task and
    with scores from before t was trained. forgetting_standard: Chaudhry et al., over t < T and
    t ≤ k < T only.
    """
    last = matrix[-1]
    tasks = matrix.shape[1]
    if len(matrix) < 2 or len(matrix) != tasks:
        return Summary(float(last.mean()), None, None)
    code = float((matrix[:-1].max(0) - last).sum() / (tasks - 1))
    drops = [matrix[t:-1, t].max() - last[t] for t in range(tasks - 1)]
    return Summary(float(last.mean()), code, float(np.mean(drops)))
