"""CLS-ER (Arani et al., ICLR 2022): replay, consistent with a plastic and a stable copy."""

from typing import Any

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import (
    MemoryOptions,
    ReplayMethod,
    Setup,
    draw_coin,
    drift,
    frozen_copy,
    update_average,
)
from avstore.train.objective import Objective


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
    """Replay rows, and keep embeddings near those of the copy that is surer of each row's truth.

    The paper picks the copy with the higher probability of the true class; what the truth is, a
    system says (`Objective.certainty`). The stable copy is evaluated.

    Attributes:
        plastic: Moving average with the shorter memory.
        stable: Moving average with the longer memory.
        steps: Steps done.
    """

    Options = CLSEROptions
    steps: Tensor

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        self.plastic, self.stable = frozen_copy(objective), frozen_copy(objective)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss and the consistency of replayed rows."""
        rows = join(batch, past) if past else batch
        draws = self.objective.draw(rows)
        out = self.objective(rows, draws)
        losses = {"objective": out.loss.mean()}
        if past:
            old = slice(len(batch), None)
            target = self.target(past, draws if draws is None else draws.rows(old))
            now = {name: value[old] for name, value in out.embeddings.items()}
            losses["consistency"] = drift(self.options.reg_weight, now, target)
        return losses

    @torch.no_grad()
    def target(self, past: Batch, draws: Any) -> dict[str, Tensor]:
        """Return embeddings [N, D] by name, each row of the surer copy.

        Args:
            past: The replayed rows.
            draws: The system's random choices for them; both copies see the same input.
        """
        stable, plastic = self.stable(past, draws), self.plastic(past, draws)
        sure = self.stable.certainty(stable, past), self.plastic.certainty(plastic, past)
        return {
            name: torch.where(
                (sure[0][name] > sure[1][name])[:, None], value, plastic.embeddings[name]
            )
            for name, value in stable.embeddings.items()
        }

    def after_step(self) -> None:
        """Update the copies, each with its own probability, equally on every process."""
        o, self.steps = self.options, self.steps + 1
        for copy, freq, alpha in (
            (self.plastic, o.plastic_freq, o.plastic_alpha),
            (self.stable, o.stable_freq, o.stable_alpha),
        ):
            if draw_coin(freq):
                update_average(copy, self.objective, alpha, int(self.steps))

    def evaluated(self) -> Objective:
        """Return the stable copy."""
        return self.stable
