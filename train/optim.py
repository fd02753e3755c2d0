"""The optimiser's parameter groups and its learning-rate schedule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from avstore.train.parameters import ParameterLayout
from avstore.train.schedules import plateau_factor, warmup_factor
from avstore.train.sections import OptimConfig

_PLAIN = ParameterLayout()


def make_optimizer(
    module: nn.Module, config: OptimConfig, layout: ParameterLayout = _PLAIN
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over the parameters that are trained.

    Vectors (norms, biases) and what the layout says (position tables, tokens) are not decayed,
    unless `decayed` is "all". The head of a downstream run has `head_lr` times the rate. With
    `layer_decay` below 1, a parameter of level l of L has the rate lr · decay^(L - l).

    Args:
        module: What is trained.
        config: Optimiser settings.
        layout: Tables and levels of its parameters.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            decayed = config.decayed == "all" or (p.dim() > 1 and not layout.undecayed(name))
            groups.setdefault((decayed, _scale(name, config, layout)), []).append(p)
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


@dataclass(frozen=True)
class Progress:
    """Where a run is, as far as its learning rate depends on it.

    Attributes:
        step: Number of the step in the run, from 0.
        steps: Steps of the run.
        per_epoch: Steps of an epoch.
        batch_size: Rows of a step.
        scores: Headline score after each epoch so far.
    """

    step: int
    steps: int
    per_epoch: int
    batch_size: int = 0
    scores: Sequence[float] = ()


def set_lr(optimizer: torch.optim.Optimizer, config: OptimConfig, at: Progress) -> None:
    """Set the learning rate of a step: warm-up, then constant, half a cosine, steps or plateau.

    Args:
        optimizer: From `make_optimizer`.
        config: Optimiser settings.
        at: Position of the run.
    """
    if config.ignore_schedule:
        return
    factor = _factor(config, at)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _factor(config: OptimConfig, at: Progress) -> float:
    """Return the rate as a share of its peak."""
    start = 1.0
    place, warmup, end = _place(config, at)
    if config.warmup == "clips":
        start = warmup_factor(at.step, at.batch_size, published=config.published_warmup)
    elif place < warmup:
        return place / warmup
    if config.schedule == "cosine":
        done = min(1.0, (place - warmup) / max(1, end - warmup))
        least = config.min_lr / config.lr
        return start * (least + 0.5 * (1 - least) * (1 + math.cos(math.pi * done)))
    if config.schedule == "steps":
        return float(start * config.step_factor ** _drops(at.step // at.per_epoch, config))
    if config.schedule == "plateau":
        return start * plateau_factor(at.scores, config.step_factor, config.plateau_patience)
    return start


def _place(config: OptimConfig, at: Progress) -> tuple[int, int, int]:
    """Return where the run is, where its warm-up ends, and where it ends: in steps or epochs."""
    if config.by_epoch:
        return at.step // at.per_epoch + 1, int(config.warmup_epochs), at.steps // at.per_epoch
    return at.step, int(config.warmup_epochs * at.per_epoch), at.steps


def _drops(epoch: int, config: OptimConfig) -> int:
    """Return how often the rate has been multiplied by `step_factor`, in an epoch from 0."""
    return max(0, (epoch - config.step_start) // config.step_epochs + 1)


def _scale(name: str, config: OptimConfig, layout: ParameterLayout) -> float:
    if name.removeprefix("objective.").startswith("head."):
        return config.head_lr
    top = len(layout.levels)
    level = next((i for i, marks in enumerate(layout.levels) if any(m in name for m in marks)), top)
    return float(config.layer_decay ** (top - level))
