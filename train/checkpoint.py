"""Checkpoints: whole or not at all, and enough in them to go on bit for bit."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from manifests.store import StoreError, committing


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, **facts: Any) -> None:
    """Write model, optimizer, random states and these facts."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        **facts,
    }
    with committing(path) as file:
        torch.save(state, file)


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, Any]:
    """Restore what `save` wrote; its facts. Raises StoreError for a file that does not fit."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state.pop("model"))
        optimizer.load_state_dict(state.pop("optimizer"))
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(
            f"checkpoint {path} cannot be resumed ({str(error).splitlines()[0]}); "
            "choose another --out to begin anew"
        ) from error
    torch.set_rng_state(state.pop("torch_rng"))
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return state


def seed_all(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
