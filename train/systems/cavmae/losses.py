"""Losses of the backbone, one value a row [B]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train import dist


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
    all_ranks: bool = True,
) -> Tensor:
    """Return InfoNCE on cosine similarity.

    Rows of other ranks carry no gradient.

    Args:
        audio: Embeddings [B, D].
        video: Embeddings [B, D].
        temperature: Of the softmax.
        both_ways: Whether to average video→audio and audio→video; else video→audio alone.
        all_ranks: Whether negatives come from all ranks; else from this one alone.

    Returns:
        Losses [B].
    """
    a, v = F.normalize(audio, dim=-1), F.normalize(video, dim=-1)
    all_a, all_v = a, v
    own = torch.arange(len(a), device=a.device)
    if all_ranks:
        all_a, all_v = dist.gather_rows(a), dist.gather_rows(v)
        own += sum(dist.row_counts(a)[: dist.rank()])
    v_to_a = F.cross_entropy(v @ all_a.T / temperature, own, reduction="none")
    if not both_ways:
        return v_to_a
    a_to_v = F.cross_entropy(a @ all_v.T / temperature, own, reduction="none")
    return 0.5 * (v_to_a + a_to_v)
