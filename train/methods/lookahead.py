"""Look-ahead step of MIR and GMED: the parameters after a step that is not taken."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer

from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.objective import Objective, Output

Parameters = dict[str, Tensor]


def look_ahead(objective: Objective, batch: Batch, optimizer: Optimizer) -> Parameters:
    """Return the parameters after an optimiser step on a batch, without changing anything.

    Args:
        objective: The system.
        batch: This process's rows; the step is that of all rows.
        optimizer: Adam or AdamW; of another optimiser, a plain gradient step is taken.
    """
    own = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    loss = objective(batch).loss.mean()
    gradients = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    return {
        name: p.detach()
        if g is None
        else _moved(p.detach(), dist.mean(g), groups[id(p)], optimizer.state[p])
        for (name, p), g in zip(own.items(), gradients, strict=True)
    }


def _moved(p: Tensor, g: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    """Return the parameter after Adam's or AdamW's update, else after a plain step."""
    if "betas" not in group:
        plain: Tensor = p - group["lr"] * g
        return plain
    decay = group.get("weight_decay", 0.0)
    if group.get("decoupled_weight_decay"):
        p = p * (1 - group["lr"] * decay)
    else:
        g = g + decay * p
    one, two = group["betas"]
    step = int(state.get("step", 0)) + 1
    mean = one * state.get("exp_avg", torch.zeros_like(p)) + (1 - one) * g
    square = two * state.get("exp_avg_sq", torch.zeros_like(p)) + (1 - two) * g * g
    scale = (square / (1 - two**step)).sqrt() + group["eps"]
    moved: Tensor = p - group["lr"] * (mean / (1 - one**step)) / scale
    return moved


def row_losses(
    objective: Objective, parameters: Parameters | None, batch: Batch, draws: Any
) -> Tensor:
    """Return the loss of each row [B].

    Args:
        objective: The system.
        parameters: Parameters to use instead of the system's own.
        batch: The rows.
        draws: Random choices of `Objective.draw`, so that two calls compare the same input.
    """
    if parameters is None:
        out: Output = objective(batch, draws)
    else:
        out = functional_call(objective, parameters, (batch, draws))
    return out.loss


def require_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """Return the trainer's optimiser, which a look-ahead step needs."""
    if optimizer is None:
        raise RuntimeError("set method.optimizer before the first step")
    return optimizer
