"""ESMER (Sarfraz et al. 2023): learn less from what the stable copy finds surprising."""

from typing import Any

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod, Setup, penalty
from avstore.train.methods.ema import follow, frozen_copy
from avstore.train.systems.cavmae.model import CAVMAE


class ESMEROptions(MemoryOptions):
    """loss_margin: how often the running mean a loss may be before it counts less (β).

    loss_alpha: how slowly the running mean follows; std_margin: losses further than that many
    deviations above the batch's mean do not enter it. ema_*: the stable copy.
    """

    reg_weight: float = 0.15
    ema_freq: float = 0.2
    ema_alpha: float = 0.999
    loss_margin: float = 2.5
    loss_alpha: float = 0.99
    std_margin: float = 1.0


class ESMER(ReplayMethod):
    """Replay with losses scaled by surprise, and only the unsurprising rows remembered.

    Evaluated: the stable copy.
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
        _, past = self.draw(len(batch))
        with torch.no_grad():
            surprise = self.stable(self.patches(batch)).loss
            kept = self.stable(self.patches(Inputs(past["video"], past["audio"]))) if past else None
        weight, ordinary = self.weigh(surprise)
        out = self.cav_with(batch, past)
        replayed = torch.ones(len(out.loss) - len(batch), device=weight.device)
        found = {"cav": (torch.cat([weight, replayed]) * out.loss).mean()}
        if kept is not None:
            reg = self.options.reg_weight
            found["consistency"] = penalty(reg, len(batch), out, kept.audio, kept.video)
        if bool(ordinary.any()):
            self.remember(Inputs(batch.video[ordinary], batch.audio[ordinary]))
        self.track(surprise)
        return found

    def weigh(self, surprise: Tensor) -> tuple[Tensor, Tensor]:
        """Weight of each row [B], and whether it is ordinary enough to be remembered [B]."""
        if float(self.running) <= 0:
            return torch.ones_like(surprise), torch.ones_like(surprise, dtype=torch.bool)
        ordinary = surprise <= self.options.loss_margin * self.running
        return torch.where(ordinary, 1.0, self.running / surprise), ordinary

    def track(self, surprise: Tensor) -> None:
        """Move the running mean by the losses that are no outliers in their batch."""
        o, self.steps = self.options, self.steps + 1
        spread = surprise.std() if len(surprise) > 1 else surprise.new_zeros(())
        inliers = surprise[surprise <= surprise.mean() + o.std_margin * spread]
        a = min(1 - 1 / (int(self.steps) + 1), o.loss_alpha)
        self.running = a * self.running + (1 - a) * inliers.mean()

    def stepped(self) -> None:
        if float(torch.rand(())) < self.options.ema_freq:
            follow(self.stable, self.model, self.options.ema_alpha, int(self.steps))

    def evaluated(self) -> CAVMAE:
        return self.stable
