"""CLS-ER (Arani et al., ICLR 2022): replay, consistent with a plastic and a stable copy."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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
from avstore.train.systems.cavmae.model import CAVMAE, Masked
from avstore.train.systems.cavmae.patches import Order, Patches


class CLSEROptions(MemoryOptions):
    """Settings of CLS-ER.

    Attributes:
        reg_weight: Weight of the consistency loss.
        plastic_freq: Probability a step that the plastic copy is updated.
        plastic_alpha: Decay of its moving average.
        stable_freq: Probability a step that the stable copy is updated.
        stable_alpha: Decay of its moving average.
    """

    reg_weight: float = 0.1
    plastic_freq: float = 0.8
    plastic_alpha: float = 0.999
    stable_freq: float = 0.6
    stable_alpha: float = 0.999


class CLSER(ReplayMethod):
    """Replay rows, and keep embeddings near those of the copy that matches each row's pair better.

    The paper picks the copy with the higher probability of the true class. There are no classes
    here, so it is the probability of the true partner within the replayed batch. The stable copy is
    evaluated.

    Attributes:
        plastic: Moving average with the shorter memory.
        stable: Moving average with the longer memory.
        steps: Steps done.
    """

    Options = CLSEROptions
    steps: Tensor

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        self.plastic, self.stable = frozen_copy(model), frozen_copy(model)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss and the consistency of replayed rows."""
        _, past = self.draw(len(batch))
        rows = self.with_past(batch, past)
        order = self.model.draw_order(rows)
        out = self.forward_masked(rows, order)
        losses = {"cav": out.loss.mean()}
        if past:
            old = slice(len(batch), None)
            target = self.target(rows.rows(old), order.rows(old))
            losses["consistency"] = penalty(self.options.reg_weight, len(batch), out, *target)
        self.remember(batch)
        return losses

    @torch.no_grad()
    def target(self, rows: Patches, order: Order) -> tuple[Tensor, Tensor]:
        """Return audio and video embeddings [N, D], each row of the copy with the surer pair.

        Args:
            rows: Patches of the replayed rows.
            order: The order by which the model masked them; both copies see the same patches.
        """
        stable, plastic = self.stable(rows, order), self.plastic(rows, order)
        temperature = self.model.config.temperature
        (stable_a, stable_v), (plastic_a, plastic_v) = (
            pair_probability(out, temperature) for out in (stable, plastic)
        )
        return (
            torch.where((stable_a > plastic_a)[:, None], stable.audio, plastic.audio),
            torch.where((stable_v > plastic_v)[:, None], stable.video, plastic.video),
        )

    def after_step(self) -> None:
        """Update the copies, each with its own probability, equally on every process."""
        o, self.steps = self.options, self.steps + 1
        for copy, freq, alpha in (
            (self.plastic, o.plastic_freq, o.plastic_alpha),
            (self.stable, o.stable_freq, o.stable_alpha),
        ):
            if draw_coin(freq):
                update_average(copy, self.model, alpha, int(self.steps))

    def eval_model(self) -> CAVMAE:
        """Return the stable copy."""
        return self.stable


def pair_probability(out: Masked, temperature: float) -> tuple[Tensor, Tensor]:
    """Return each row's probability of its true partner, audio→video [B] and video→audio [B]."""
    a, v = F.normalize(out.audio, dim=-1), F.normalize(out.video, dim=-1)
    logits = a @ v.T / temperature
    return logits.softmax(1).diagonal(), logits.softmax(0).diagonal()
