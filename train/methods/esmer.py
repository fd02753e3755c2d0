"""ESMER (Sarfraz et al., ICLR 2023): learn less from rows on which the stable copy errs."""

from typing import Any

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import (
    MemoryOptions,
    Setup,
    draw_coin,
    drift,
    frozen_copy,
    update_average,
)
from avstore.train.methods.host_memory import HostMemoryMethod
from avstore.train.objective import Objective


class ESMEROptions(MemoryOptions):
    """Settings of ESMER.

    Attributes:
        reg_weight: Weight of the consistency loss.
        ema_freq: Probability a step that the stable copy is updated.
        ema_alpha: Decay of its moving average.
        loss_margin: Multiple of the running mean above which a loss counts less (β).
        loss_alpha: Decay of the running mean.
        std_margin: Losses more than this many standard deviations above the batch's mean do not
            enter the running mean.
    """

    reg_weight: float = 0.15
    ema_freq: float = 0.2
    ema_alpha: float = 0.999
    loss_margin: float = 2.5
    loss_alpha: float = 0.99
    std_margin: float = 1.0


class ESMER(HostMemoryMethod):
    """Replays, with losses scaled down for rows of high error, which are not remembered.

    Which rows are remembered depends on losses, so the memory holds their inputs, in host memory.
    The stable copy is evaluated.

    Attributes:
        stable: Moving average of the model.
        steps: Steps done.
        running: Running mean of the stable copy's loss.
    """

    Options = ESMEROptions
    steps: Tensor
    running: Tensor

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        self.stable = frozen_copy(objective)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("running", torch.zeros(()))

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the weighted loss and the consistency of replayed rows."""
        past, count = self.draw_past(batch), len(batch)
        rows = join(batch, past) if past else batch
        draws = self.objective.draw(rows)
        with torch.no_grad():
            stable = self.stable(rows, draws)
        error = stable.loss[:count]
        weight, ordinary = self.weigh(error)
        out = self.objective(rows, draws)
        replayed = torch.ones(len(out.loss) - count, device=weight.device)
        losses = {"objective": (torch.cat([weight, replayed]) * out.loss).mean()}
        if past:
            now, before = (
                {name: value[count:] for name, value in found.embeddings.items()}
                for found in (out, stable)
            )
            losses["consistency"] = drift(self.options.reg_weight, now, before)
        if bool(ordinary.any()):
            self.remember(batch.rows(ordinary))
        self.track(dist.gather_rows(error))
        return losses

    def weigh(self, error: Tensor) -> tuple[Tensor, Tensor]:
        """Weigh rows by the stable copy's loss.

        Args:
            error: The stable copy's loss of each row [B].

        Returns:
            The weight of each row [B], and whether it may be remembered [B].
        """
        if float(self.running) <= 0:
            return torch.ones_like(error), torch.ones_like(error, dtype=torch.bool)
        ordinary = error <= self.options.loss_margin * self.running
        return torch.where(ordinary, 1.0, self.running / error), ordinary

    def track(self, error: Tensor) -> None:
        """Update the running mean with the losses of all processes that are no outliers.

        Args:
            error: The stable copy's loss of each current row of the step [B].
        """
        o, self.steps = self.options, self.steps + 1
        spread = error.std() if len(error) > 1 else error.new_zeros(())
        inliers = error[error <= error.mean() + o.std_margin * spread]
        a = min(1 - 1 / (int(self.steps) + 1), o.loss_alpha)
        self.running = a * self.running + (1 - a) * inliers.mean()

    def after_step(self) -> None:
        """Update the stable copy, with its probability, equally on every process."""
        if draw_coin(self.options.ema_freq):
            alpha, steps = self.options.ema_alpha, int(self.steps)
            update_average(self.stable, self.objective, alpha, steps)

    def evaluated(self) -> Objective:
        """Return the stable copy."""
        return self.stable
