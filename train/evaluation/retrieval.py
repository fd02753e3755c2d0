"""Zero-shot retrieval between sound and picture (spec 5.1), and the modality gap (5.3)."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

RECALLS = (1, 5, 10)


Ties = Literal["worst", "published"]


def ranks(similarity: Tensor, ties: Ties = "worst") -> tuple[Tensor, Tensor]:
    """(rank from 0 of the true column, the row of each rank) of a similarity [N, N].

    A row's true column is its own number. "worst": ties count against, for a model that finds
    everything alike has found nothing. "published": the released code looks the true value up in
    the sorted row and takes every place where it stands, so that a tie counts for the model and
    adds a rank (bug B22).
    """
    true = similarity.diagonal()[:, None]
    if ties == "worst":
        return (similarity >= true).sum(1) - 1, torch.arange(len(similarity))
    rows, places = (similarity.sort(dim=1, descending=True).values == true).nonzero(as_tuple=True)
    return places, rows


def retrieval(
    audio: Tensor, video: Tensor, groups: Mapping[str, Iterable[int]], ties: Ties = "worst"
) -> dict[str, dict[str, float]]:
    """Scores in percent of each group of rows, in a gallery of all rows; and of "all".

    audio, video: embeddings [N, D]. Names: `a2v_r1` … `v2a_r10`, `*_avg` (mean of the three),
    `*_medr` (median rank, from 1).
    """
    a, v = F.normalize(audio, dim=-1), F.normalize(video, dim=-1)
    similarity = a @ v.T
    found = {"a2v": ranks(similarity, ties), "v2a": ranks(similarity.T, ties)}
    everything = {**{name: list(rows) for name, rows in groups.items()}, "all": range(len(a))}
    out: dict[str, dict[str, float]] = {}
    for name, rows in everything.items():
        index = torch.tensor(list(rows), dtype=torch.long)
        scores: dict[str, float] = {}
        for direction, (rank, row) in found.items():
            own = rank[torch.isin(row, index)].double()
            for k in RECALLS:
                scores[f"{direction}_r{k}"] = 100 * float((own < k).double().mean())
            scores[f"{direction}_avg"] = sum(scores[f"{direction}_r{k}"] for k in RECALLS) / 3
            scores[f"{direction}_medr"] = float(own.quantile(0.5)) + 1
        out[name] = scores
    return out


def chance(gallery: int) -> float:
    """The mean of R@1, R@5 and R@10, in percent, of ranking at random."""
    return sum(100 * min(1.0, k / gallery) for k in RECALLS) / 3


def modality_gap(audio: Tensor, video: Tensor) -> float:
    """Distance of the centres of the normalised embeddings (Liang et al. 2022)."""
    a, v = F.normalize(audio, dim=-1).mean(0), F.normalize(video, dim=-1).mean(0)
    return float((a - v).norm())
