"""Zero-shot audio→video and video→audio retrieval, and the modality gap."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

RECALLS = (1, 5, 10)

Ties = Literal["worst", "published"]


def ranks(similarity: Tensor, ties: Ties = "worst") -> tuple[Tensor, Tensor]:
    """Rank the true column of each row, which has the row's own index.

    Args:
        similarity: Similarities [N, N].
        ties: "worst" counts ties against the model. "published" looks the true value up in the
            sorted row and takes every place that holds it, as the released code does, so that a tie
            counts for the model and adds a rank (bug B22).

    Returns:
        Ranks from 0, and the row of each rank.
    """
    true = similarity.diagonal()[:, None]
    if ties == "worst":
        return (similarity >= true).sum(1) - 1, torch.arange(len(similarity))
    rows, places = (similarity.sort(dim=1, descending=True).values == true).nonzero(as_tuple=True)
    return places, rows


def retrieval(
    audio: Tensor, video: Tensor, groups: Mapping[str, Iterable[int]], ties: Ties = "worst"
) -> dict[str, dict[str, float]]:
    """Score retrieval in a gallery of all rows.

    Args:
        audio: Embeddings [N, D].
        video: Embeddings of the same clips [N, D].
        groups: Rows to score together, by name.
        ties: How equal similarities rank; see `ranks`.

    Returns:
        For each group and for "all" rows, in percent: R@1, 5 and 10 of audio→video (`a2v_r1` …)
        and of video→audio (`v2a_r1` …), their means (`a2v_avg`, `v2a_avg`), and the median ranks
        from 1 (`a2v_medr`, `v2a_medr`).
    """
    a, v = F.normalize(audio, dim=-1), F.normalize(video, dim=-1)
    similarity = a @ v.T
    by_direction = {"a2v": ranks(similarity, ties), "v2a": ranks(similarity.T, ties)}
    everything = {**{name: list(rows) for name, rows in groups.items()}, "all": range(len(a))}
    out: dict[str, dict[str, float]] = {}
    for name, rows in everything.items():
        index = torch.tensor(list(rows), dtype=torch.long)
        scores: dict[str, float] = {}
        for direction, (rank, row) in by_direction.items():
            own = rank[torch.isin(row, index)].double()
            for k in RECALLS:
                scores[f"{direction}_r{k}"] = 100 * float((own < k).double().mean())
            scores[f"{direction}_avg"] = sum(scores[f"{direction}_r{k}"] for k in RECALLS) / 3
            scores[f"{direction}_medr"] = float(own.quantile(0.5)) + 1
        out[name] = scores
    return out


def beaten(audio: Tensor, video: Tensor) -> Tensor:
    """Return the share of other clips that each clip's own partner beats, in percent [N].

    It is the mean of both directions; ties count against the partner.

    Args:
        audio: Embeddings [N, D].
        video: Embeddings of the same clips [N, D].
    """
    similarity = F.normalize(audio, dim=-1) @ F.normalize(video, dim=-1).T
    both = torch.stack([ranks(own)[0] for own in (similarity, similarity.T)])
    return 100 * (1 - both.double().mean(0) / max(len(audio) - 1, 1))


def chance(gallery: int) -> float:
    """Return the mean of R@1, 5 and 10, in percent, of a random ranking of `gallery` clips."""
    return sum(100 * min(1.0, k / gallery) for k in RECALLS) / 3


def modality_gap(audio: Tensor, video: Tensor) -> float:
    """Return the distance of the mean normalised embeddings (Liang et al., NeurIPS 2022)."""
    a, v = F.normalize(audio, dim=-1).mean(0), F.normalize(video, dim=-1).mean(0)
    return float((a - v).norm())
