"""The optimiser's parameter groups and its learning-rate schedule."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from avstore.train.config import OptimConfig
from avstore.train.systems.cavmae.model import CAVMAE


def make_optimizer(
    module: nn.Module, config: OptimConfig, blocks: tuple[int, int] = (0, 0)
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over the parameters that are trained.

    Vectors (norms, biases), position tables and tokens are not decayed, unless `decayed` is "all".
    The head of a downstream run has `head_lr` times the rate. With `layer_decay` below 1,
    a parameter of level l of L has the rate lr · decay^(L - l): embeddings are level 0, block i of
    a modality's own encoder is level i + 1, then come the joint blocks, and the rest is on top.

    Args:
        module: What is trained.
        config: Optimiser settings.
        blocks: Number of blocks of each modality's own encoder, and of joint blocks.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            decayed = config.decayed == "all" or (p.dim() > 1 and not CAVMAE.undecayed(name))
            groups.setdefault((decayed, _scale(name, config, blocks)), []).append(p)
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
    """Set the learning rate of a step: linear warm-up, then constant, half a cosine or steps.

    Args:
        optimizer: From `make_optimizer`.
        config: Optimiser settings.
        step: Number of the step in the run, from 0.
        steps: Steps of the run.
        per_epoch: Steps of an epoch.
    """
    if config.ignore_schedule:
        return
    factor = 1.0
    warmup = int(config.warmup_epochs * per_epoch)
    if step < warmup:
        factor = step / warmup
    elif config.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    elif config.schedule == "steps":
        factor = config.step_factor ** _drops(step // per_epoch, config)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _drops(epoch: int, config: OptimConfig) -> int:
    """Return how often the rate has been multiplied by `step_factor`, in an epoch from 0."""
    return max(0, (epoch - config.step_start) // config.step_epochs + 1)


def _scale(name: str, config: OptimConfig, blocks: tuple[int, int]) -> float:
    if name.startswith("head."):
        return config.head_lr
    if config.layer_decay == 1.0:
        return 1.0
    levels = list(_levels(*blocks))
    top = len(levels)
    level = next((i for i, marks in enumerate(levels) if any(m in name for m in marks)), top)
    return float(config.layer_decay ** (top - level))


def _levels(depth: int, joint_depth: int) -> Iterator[list[str]]:
    """Yield the parts of names that mark each level, from the lowest."""
    yield [f"{tower}.{part}" for tower in ("audio", "video") for part in ("patch", "pos", "modal")]
    for i in range(depth):
        yield [f"audio.blocks.{i}.", f"video.blocks.{i}."]
    for i in range(joint_depth):
        yield [f"joint.{i}."]
