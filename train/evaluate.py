"""Zero-shot retrieval between sound and picture, and the continual-learning scores over it."""

import torch
from torch import Tensor
from torch.nn import functional as F

RANKS = (1, 5, 10)


def recalls(similarity: Tensor, rows: Tensor) -> dict[str, float]:
    """R@1, R@5, R@10 in percent of the queries `rows` against the whole gallery (columns).

    similarity [N, N], the pair of row i is column i. A pair's rank is one more than how many
    columns are more similar; ties count half (the published code counts some twice).
    """
    own = similarity.diagonal()[rows][:, None]
    chosen = similarity[rows]
    above = (chosen > own).sum(1).float()
    ties = (chosen == own).sum(1).float() - 1
    rank = above + ties / 2
    return {f"R@{k}": 100.0 * float((rank < k).float().mean()) for k in RANKS}


def retrieval(audio: Tensor, video: Tensor, tasks: list[str]) -> dict[str, float]:
    """Score a task, in percent: mean of R@1, 5, 10 over both directions (spec 5.1).

    audio, video [N, D]: embeddings of the whole gallery; tasks: the task of each row. Queries are
    a task's rows, the gallery is all rows.
    """
    similarity = F.normalize(audio, dim=-1) @ F.normalize(video, dim=-1).T
    scores = {}
    for task in dict.fromkeys(tasks):
        rows = torch.tensor([i for i, name in enumerate(tasks) if name == task])
        both = [recalls(similarity, rows), recalls(similarity.T, rows)]
        values = [value for found in both for value in found.values()]
        scores[task] = sum(values) / len(values)
    return scores


def chance(gallery: int) -> float:
    """The score of a random ranking over `gallery` clips, in percent."""
    return 100.0 * sum(min(k, gallery) / gallery for k in RANKS) / len(RANKS)


def average_score(matrix: list[list[float]]) -> float:
    """A: mean over tasks of the score after the last task (spec 5.2). matrix[k][t]."""
    last = matrix[-1]
    return sum(last) / len(last)


def forgetting_standard(matrix: list[list[float]]) -> float:
    """F: mean over all tasks but the last of the best earlier score less the last (Chaudhry).

    Earlier: from the checkpoint after the task itself on.
    """
    tasks = len(matrix[-1])
    if tasks < 2:
        return 0.0
    drops = [
        max(matrix[k][t] for k in range(t, tasks - 1)) - matrix[-1][t] for t in range(tasks - 1)
    ]
    return sum(drops) / len(drops)


def forgetting_published(matrix: list[list[float]]) -> float:
    """F as the published code computes it: the last task and earlier checkpoints count too.

    Sum over all T tasks of max over k < T of (a[k][t] - a[T][t]), divided by T - 1 (spec 5.2).
    """
    tasks = len(matrix[-1])
    if tasks < 2:
        return 0.0
    drops = [max(matrix[k][t] for k in range(tasks - 1)) - matrix[-1][t] for t in range(tasks)]
    return sum(drops) / (tasks - 1)
