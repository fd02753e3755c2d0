"""CLS-ER (Arani et al. 2022): a plastic and a stable copy as short- and long-term memories."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod, Setup, penalty
from avstore.train.methods.ema import follow, frozen_copy
from avstore.train.methods.memory import Rows
from avstore.train.systems.cavmae.model import CAVMAE, Masked


class CLSEROptions(MemoryOptions):
    """reg_weight: of the consistency; *_freq: how often, *_alpha: how slowly a copy follows."""

    reg_weight: float = 0.1
    plastic_freq: float = 0.8
    plastic_alpha: float = 0.999
    stable_freq: float = 0.6
    stable_alpha: float = 0.999


class CLSER(ReplayMethod):
    """Replay, consistent with whichever copy matches a replayed row's own pair better.

    The paper picks the copy that is surer of the true class; without classes, the copy that
    gives the true partner in the replayed batch the higher probability. Evaluated: the stable one.
    """

    Options = CLSEROptions
    steps: Tensor

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        self.plastic, self.stable = frozen_copy(model), frozen_copy(model)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        _, past = self.draw(len(batch))
        target = self.target(past) if past else None
        out = self.cav_with(batch, past)
        found = {"cav": out.loss.mean()}
        if target is not None:
            found["consistency"] = penalty(self.options.reg_weight, len(batch), out, *target)
        self.remember(batch)
        return found

    @torch.no_grad()
    def target(self, past: Rows) -> tuple[Tensor, Tensor]:
        """Audio and video embeddings [M, D], each row from the copy that is surer of its pair."""
        rows = self.patches(Inputs(past["video"], past["audio"]))
        stable, plastic = self.stable(rows), self.plastic(rows)
        temperature = self.model.config.temperature
        (sure_a, sure_v), (less_a, less_v) = (sureness(m, temperature) for m in (stable, plastic))
        return (
            torch.where((sure_a > less_a)[:, None], stable.audio, plastic.audio),
            torch.where((sure_v > less_v)[:, None], stable.video, plastic.video),
        )

    def stepped(self) -> None:
        o, self.steps = self.options, self.steps + 1
        for copy, freq, alpha in (
            (self.plastic, o.plastic_freq, o.plastic_alpha),
            (self.stable, o.stable_freq, o.stable_alpha),
        ):
            if float(torch.rand(())) < freq:
                follow(copy, self.model, alpha, int(self.steps))

    def evaluated(self) -> CAVMAE:
        return self.stable


def sureness(out: Masked, temperature: float) -> tuple[Tensor, Tensor]:
    """Probability of the true partner, audio to video and video to audio, [B] each."""
    a, v = F.normalize(out.audio, dim=-1), F.normalize(out.video, dim=-1)
    logits = a @ v.T / temperature
    return logits.softmax(1).diagonal(), logits.softmax(0).diagonal()
