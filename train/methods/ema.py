"""A copy of the model that follows it slowly."""

import copy

import torch

from avstore.train.systems.cavmae.model import CAVMAE


def frozen_copy(model: CAVMAE) -> CAVMAE:
    """A copy that is never trained."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def follow(slow: CAVMAE, fast: CAVMAE, alpha: float, step: int) -> None:
    """slow ← a slow + (1 − a) fast, a = min(1 − 1 / (step + 1), alpha): a plain mean at first."""
    a = min(1 - 1 / (step + 1), alpha)
    for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
        old.mul_(a).add_(new, alpha=1 - a)
