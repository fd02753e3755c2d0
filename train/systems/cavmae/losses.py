"""Losses of the backbone, one value a row [B]."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train import dist

Negatives = Literal["all", "own", "published"]


def hidden_pixels(patches: Tensor, normalise: bool) -> Tensor:
    """Return the targets of hidden patches, in the order row, column, channel.

    Args:
        patches: Pixels [B, K, C, p, p].
        normalise: Whether each patch gets mean 0 and (unbiased) variance 1, as in MAE.

    Returns:
        Targets [B, K, p*p*C], float32.
    """
    flat = patches.float().permute(0, 1, 3, 4, 2).flatten(2)
    if not normalise:
        return flat
    variance, mean = torch.var_mean(flat, dim=-1, keepdim=True)
    return (flat - mean) / (variance + 1e-6).sqrt()


def reconstruction(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each row [B]; 0 if it has no hidden patches.

    Args:
        predicted: Pixels [B, K, P].
        target: Pixels [B, K, P].
    """
    if target.shape[1] == 0:
        return target.new_zeros(len(target))
    return (predicted.float() - target).square().mean(dim=(1, 2))


def contrast(
    audio: Tensor,
    video: Tensor,
    temperature: float,
    both_ways: bool = True,
    negatives: Negatives = "all",
) -> Tensor:
    """Return InfoNCE on cosine similarity.

    Args:
        audio: Embeddings [B, D].
        video: Embeddings [B, D].
        temperature: Of the softmax.
        both_ways: Whether to average video→audio and audio→video; else video→audio alone.
        negatives: Rows that each row is compared with: "all", this process's "own", or
            "published": all, but rows of another fourth of the batch have no gradient, as rows of
            another GPU in the released trainer.

    Returns:
        Losses [B].
    """
    a, v = F.normalize(audio, dim=-1), F.normalize(video, dim=-1)
    all_a, all_v = a, v
    counts, rank = [len(a)], 0
    if negatives != "own":
        all_a, all_v = dist.gather_rows(a), dist.gather_rows(v)
        counts, rank = dist.row_counts(a), dist.rank()
    own = torch.arange(len(a), device=a.device) + sum(counts[:rank])
    near = _same_fourth(counts, rank, a.device) if negatives == "published" else None
    v_to_a = F.cross_entropy(_similarity(v, all_a, near) / temperature, own, reduction="none")
    if not both_ways:
        return v_to_a
    a_to_v = F.cross_entropy(_similarity(a, all_v, near) / temperature, own, reduction="none")
    return 0.5 * (v_to_a + a_to_v)


def _same_fourth(counts: list[int], rank: int, device: torch.device) -> Tensor:
    """Return whether own rows and all rows, in rank order, are of one fourth of the batch."""
    fourths = [
        (number + len(counts) * torch.arange(count, device=device)) % 4
        for number, count in enumerate(counts)
    ]
    return fourths[rank][:, None] == torch.cat(fourths)


def _similarity(own: Tensor, others: Tensor, near: Tensor | None) -> Tensor:
    """Return products of rows [B, N]; where they are not near, without the others' gradient."""
    product = own @ others.T
    return product if near is None else torch.where(near, product, own @ others.detach().T)
