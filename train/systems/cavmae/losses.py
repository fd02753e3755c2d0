"""The losses of the backbone, each a row at a time: [B]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train import dist


def hidden_pixels(patches: Tensor, normalise: bool) -> Tensor:
    """Targets [B, K, p*p*C] from patches [B, K, C, p, p], in the order row, column, channel.

    With `normalise` each patch has mean 0 and (unbiased) variance 1, as in MAE.
    """
    flat = patches.float().permute(0, 1, 3, 4, 2).flatten(2)
    if not normalise:
        return flat
    variance, mean = torch.var_mean(flat, dim=-1, keepdim=True)
    return (flat - mean) / (variance + 1e-6).sqrt()


def reconstruction(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over a row's hidden patches; 0 where nothing is hidden."""
    if target.shape[1] == 0:
        return target.new_zeros(len(target))
    return (predicted.float() - target).square().mean(dim=(1, 2))


def contrast(audio: Tensor, video: Tensor, temperature: float, both_ways: bool = True) -> Tensor:
    """InfoNCE on cosine similarity, negatives from all ranks, no gradient through remote ones.

    audio, video [B, D] -> [B]: ½ (CE video→audio + CE audio→video), or the first alone.
    """
    a, v = F.normalize(audio, dim=-1), F.normalize(video, dim=-1)
    all_a, all_v = dist.gather_rows(a), dist.gather_rows(v)
    own = torch.arange(len(a), device=a.device) + sum(dist.row_counts(a)[: dist.rank()])
    v_to_a = F.cross_entropy(v @ all_a.T / temperature, own, reduction="none")
    if not both_ways:
        return v_to_a
    a_to_v = F.cross_entropy(a @ all_v.T / temperature, own, reduction="none")
    return 0.5 * (v_to_a + a_to_v)
