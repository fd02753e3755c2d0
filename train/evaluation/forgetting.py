"""Average score and average forgetting of a task × task matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def gap_difference(gaps: NDArray[np.float64]) -> float | None:
    """Return how much the tasks' modality gaps have shrunk since their largest.

    Args:
        gaps: gaps[k, t] is the gap of task t after training on task k, [trainings, tasks].

    Returns:
        The mean over all tasks but the last of max over k of gaps[k, t] − gaps[T, t], as in the
        STELLA paper; None for a single training or a single task.
    """
    if len(gaps) < 2 or gaps.shape[1] < 2:
        return None
    return float((gaps.max(0) - gaps[-1])[:-1].mean())


@dataclass(frozen=True)
class Summary:
    """Summary of a matrix, in its unit.

    Attributes:
        average: Mean score over tasks after the last training.
        forgetting_code: Forgetting as the published numbers compute it; None for a single task or
            training.
        forgetting_standard: Forgetting as Chaudhry et al. (ECCV 2018) define it; None likewise.
    """

    average: float
    forgetting_code: float | None
    forgetting_standard: float | None


def summarise(matrix: NDArray[np.float64]) -> Summary:
    """Return average score and forgetting of a matrix a.

    `forgetting_code` is 1/(T−1) Σ over all t of max over k < T of (a[k, t] − a[T, t]): it includes
    the last task and scores from before t was trained. `forgetting_standard` takes t < T and
    t ≤ k < T only.

    Args:
        matrix: matrix[k, t] is the score on task t after training on task k, [trainings, tasks].
    """
    last = matrix[-1]
    tasks = matrix.shape[1]
    if len(matrix) < 2 or len(matrix) != tasks:
        return Summary(float(last.mean()), None, None)
    code = float((matrix[:-1].max(0) - last).sum() / (tasks - 1))
    drops = [matrix[t:-1, t].max() - last[t] for t in range(tasks - 1)]
    return Summary(float(last.mean()), code, float(np.mean(drops)))
