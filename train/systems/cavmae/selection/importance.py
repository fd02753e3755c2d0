"""Localized patch importance (LPIS; in FLAVA: LAVA) and replay-guided correlation (RCA; FRS).

Spec 3.3, steps 1 and 3. Everything is computed for the whole batch at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.systems.cavmae.matching import Projected
from avstore.train.systems.cavmae.patches import take


@dataclass(frozen=True)
class Alignment:
    """What the matching module finds important, per modality.

    importance [B, L] (rows sum to 1); order [B, L], most important first; keys [B, H, K, Dh] of
    the K core patches in that order; query [B, H, Dh], their importance-weighted mean query.
    queries_v [B, H, L, Dh]: of all video patches.
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
    """Importance of each patch for the other modality, and the core patches' keys and queries.

    flat: all patches are as important, in random order (the ablation without this part).
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
    """Probability that training on a patch pulls it away from the past: P [B, L] in [0, 1].

    Each core key [B, H, K, Dh] is compared with a past and the current query [B, H, Dh] of the
    other modality: mean over heads of softmax over the two, the past's share. Patches that are
    not core have P = 0.
    """
    scale = keys.shape[-1] ** -0.5
    past = torch.einsum("bhkd,bhd->bhk", keys, past_query) * scale
    current = torch.einsum("bhkd,bhd->bhk", keys, current_query) * scale
    share = torch.sigmoid(past - current).mean(1)  # softmax over two is a sigmoid
    return torch.zeros(order.shape, device=keys.device).scatter(1, order[:, :keep], share)


def _importance(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    # A head at a time: the whole [B, H, Lq, Lk] at once is gigabytes at full size.
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
    return importance, torch.rand(batch, length, device=key.device).argsort(dim=1)


def _core(x: Tensor, core: Tensor) -> Tensor:
    return take(x.transpose(1, 2), core).transpose(1, 2).float()


def mean_query(query: Tensor, importance: Tensor, core: Tensor, weighed: Tensor) -> Tensor:
    """Mean over patches `core` [B, K] of queries [B, H, L, Dh], weighed by the importance of the
    patches `weighed` [B, K]: the same ones, but in the released STELLA+ (bug B8)."""
    weight = importance.gather(1, weighed)
    weight = weight / weight.sum(1, keepdim=True)
    return torch.einsum("bhkd,bk->bhd", _core(query, core), weight)


def _mean_query(query: Tensor, importance: Tensor, core: Tensor) -> Tensor:
    return mean_query(query, importance, core, core)
