"""ESMER (Sarfraz et al., ICLR 2023): learn less from rows on which the stable copy errs."""

from typing import Any

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.methods.base import (
    Inputs,
    MemoryOptions,
    ReplayMethod,
    Setup,
    draw_coin,
    frozen_copy,
    penalty,
    update_average,
)
from avstore.train.systems.cavmae.model import CAVMAE


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


class ESMER(ReplayMethod):
    """Replays, with losses scaled down for rows of high error, which are not remembered.

    The stable copy is evaluated.

    Attributes:
        stable: Moving average of the model.
        steps: Steps done.
        running: Running mean of the stable copy's loss.
    """

    Options = ESMEROptions
    steps: Tensor
    running: Tensor

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        self.stable = frozen_copy(model)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("running", torch.zeros(()))

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the weighted masked loss and the consistency of replayed rows."""
        _, past = self.draw(len(batch))
        rows = self.with_past(batch, past)
        order, count = self.model.draw_order(rows), len(batch)
        with torch.no_grad():
            kept = self.stable(rows, order)
        error = kept.loss[:count]
        weight, ordinary = self.weigh(error)
        out = self.forward_masked(rows, order)
        replayed = torch.ones(len(out.loss) - count, device=weight.device)
        losses = {"cav": (torch.cat([weight, replayed]) * out.loss).mean()}
        if past:
            reg = self.options.reg_weight
            losses["consistency"] = penalty(reg, count, out, kept.audio[count:], kept.video[count:])
        if bool(ordinary.any()):
            self.remember(Inputs(batch.video[ordinary], batch.audio[ordinary]))
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
            update_average(self.stable, self.model, self.options.ema_alpha, int(self.steps))

    def eval_model(self) -> CAVMAE:
        """Return the stable copy."""
        return self.stable
