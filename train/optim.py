"""The optimiser's groups and its schedule (spec 4)."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from avstore.train.config import OptimConfig
from avstore.train.systems.cavmae.model import CAVMAE


def make_optimizer(module: nn.Module, config: OptimConfig, depth: int = 0) -> torch.optim.Optimizer:
    """Adam or AdamW over what is trainable.

    Vectors (norms, biases), tables and tokens are not decayed. With layer_decay < 1 a parameter
    of level l of L has lr · decay^(L - l): embeddings 0, block i i + 1, joint blocks after the
    `depth` own ones, the rest on top.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            decayed = p.dim() > 1 and not CAVMAE.undecayed(name)
            groups.setdefault((decayed, _scale(name, config, depth)), []).append(p)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(
        [
            {
                "params": params,
                "weight_decay": config.weight_decay if decayed else 0.0,
                "lr": config.lr * scale,
                "base_lr": config.lr * scale,
            }
            for (decayed, scale), params in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
    )


def set_lr(
    optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, steps: int, per_epoch: int
) -> None:
    """The rate of this step (from 0) of `steps`: linear warm-up, then flat or half a cosine."""
    if config.ignore_schedule:
        return
    factor = 1.0
    warmup = int(config.warmup_epochs * per_epoch)
    if step < warmup:
        factor = step / warmup
    elif config.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _scale(name: str, config: OptimConfig, depth: int) -> float:
    if config.layer_decay == 1.0:
        return 1.0
    levels = list(_levels(depth))
    top = len(levels)
    level = next((i for i, marks in enumerate(levels) if any(m in name for m in marks)), top)
    return float(config.layer_decay ** (top - level))


def _levels(depth: int) -> Iterator[list[str]]:
    yield [f"{tower}.{part}" for tower in ("audio", "video") for part in ("patch", "pos", "modal")]
    for i in range(depth):
        yield [f"audio.blocks.{i}.", f"video.blocks.{i}."]
    for i in range(2):
        yield [f"joint.{i}."]
