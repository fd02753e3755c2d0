"""Localized patch importance scoring (LPIS) and replay-guided correlation assessment (RCA).

STELLA, Lee et al., ICML 2024; FLAVA calls them LAVA and FRS.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.systems.cavmae.matching import Projected
from avstore.train.systems.cavmae.patches import shuffle, take


@dataclass(frozen=True)
class Alignment:
    """Importance of patches for the other modality, by the matching module.

    The core patches are the first K of the order.

    Attributes:
        importance_v: Importance of video patches [B, Lv]; rows sum to 1.
        importance_a: Importance of audio patches [B, La]; rows sum to 1.
        order_v: Video patches, most important first, [B, Lv].
        order_a: Audio patches, most important first, [B, La].
        keys_v: Keys of the core video patches, in order, [B, H, Kv, Dh].
        keys_a: Keys of the core audio patches, in order, [B, H, Ka, Dh].
        query_v: Mean query of the core video patches, weighted by importance, [B, H, Dh].
        query_a: Mean query of the core audio patches, weighted by importance, [B, H, Dh].
        queries_v: Queries of all video patches [B, H, Lv, Dh].
    """

    importance_v: Tensor
    importance_a: Tensor
    order_v: Tensor
    order_a: Tensor
    keys_v: Tensor
    keys_a: Tensor
    query_v: Tensor
    query_a: Tensor
    queries_v: Tensor


def localise(
    p: Projected, temperature: float, keep_v: int, keep_a: int, *, flat: bool = False
) -> Alignment:
    """Score each patch by the attention that the other modality pays to it (LPIS).

    Args:
        p: Queries and keys of the matching module.
        temperature: Of the attention.
        keep_v: Core video patches.
        keep_a: Core audio patches.
        flat: Make all patches equally important, in random order (the ablation without LPIS).
    """
    if flat:
        importance_v, order_v = _flat(p.k_v)
        importance_a, order_a = _flat(p.k_a)
    else:
        importance_v = _importance(p.q_a, p.k_v, temperature)
        importance_a = _importance(p.q_v, p.k_a, temperature)
        order_v = importance_v.argsort(dim=1, descending=True, stable=True)
        order_a = importance_a.argsort(dim=1, descending=True, stable=True)
    core_v, core_a = order_v[:, :keep_v], order_a[:, :keep_a]
    return Alignment(
        importance_v,
        importance_a,
        order_v,
        order_a,
        _core(p.k_v, core_v),
        _core(p.k_a, core_a),
        _mean_query(p.q_v, importance_v, core_v),
        _mean_query(p.q_a, importance_a, core_a),
        p.q_v,
    )


def forgetting(
    keys: Tensor, past_query: Tensor, current_query: Tensor, order: Tensor, keep: int
) -> Tensor:
    """Return the probability of pruning each patch, by its correlation with the past (RCA).

    The probability is the past's share in the softmax over the past and the current query, mean
    over heads. Patches outside the core have probability 0.

    Args:
        keys: Keys of the core patches [B, H, K, Dh].
        past_query: Mean query of the other modality of replayed rows [B, H, Dh].
        current_query: Mean query of the other modality of the current rows [B, H, Dh].
        order: Patches, most important first, [B, L].
        keep: Core patches K.

    Returns:
        Probabilities [B, L].
    """
    scale = keys.shape[-1] ** -0.5
    past = torch.einsum("bhkd,bhd->bhk", keys, past_query) * scale
    current = torch.einsum("bhkd,bhd->bhk", keys, current_query) * scale
    # Softmax over two is a sigmoid; in float32, because autocast leaves that in half precision.
    share = torch.sigmoid(past.float() - current.float()).mean(1)
    return torch.zeros(order.shape, device=keys.device).scatter(1, order[:, :keep], share)


def _importance(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    # One head at a time: [B, H, Lq, Lk] takes gigabytes at full size.
    scale = query.shape[-1] ** -0.5 / temperature
    heads = query.shape[1]
    total = torch.zeros(key.shape[0], key.shape[2], device=key.device)
    for head in range(heads):
        logits = (query[:, head] @ key[:, head].transpose(1, 2)).float() * scale
        total += logits.softmax(-1).mean(1)
    return total / heads


def _flat(key: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, length, _ = key.shape
    importance = torch.full((batch, length), 1 / length, device=key.device)
    return importance, shuffle(batch, length, key.device)


def _core(x: Tensor, core: Tensor) -> Tensor:
    return take(x.transpose(1, 2), core).transpose(1, 2).float()


def mean_query(query: Tensor, importance: Tensor, core: Tensor, weighed: Tensor) -> Tensor:
    """Return the weighted mean query of the core patches.

    Args:
        query: Queries [B, H, L, Dh].
        importance: Importance [B, L].
        core: Patches to average [B, K].
        weighed: Patches whose importance is the weight [B, K]: `core`, except in the released
            STELLA+ (bug B8).

    Returns:
        Mean queries [B, H, Dh].
    """
    weight = importance.gather(1, weighed)
    weight = weight / weight.sum(1, keepdim=True)
    return torch.einsum("bhkd,bk->bhd", _core(query, core), weight)


def _mean_query(query: Tensor, importance: Tensor, core: Tensor) -> Tensor:
    return mean_query(query, importance, core, core)
