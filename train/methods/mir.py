"""Maximally interfered retrieval (Aljundi et al. 2019)."""

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod
from avstore.train.methods.memory import Rows
from avstore.train.methods.virtual import after_step, mask_seed, require, row_losses


class MIROptions(MemoryOptions):
    """search_factor: candidates drawn, as a multiple of the batch."""

    search_factor: int = 5


class MIR(ReplayMethod):
    """Replays those of the candidates whose loss the current batch would raise most."""

    Options = MIROptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        _, past = self.draw(self.options.search_factor * len(batch))
        if past:
            past = self.most_interfered(batch, past)
        loss = self.cav_with(batch, past).loss.mean()
        self.remember(batch)
        return {"cav": loss}

    def most_interfered(self, batch: Inputs, candidates: Rows) -> Rows:
        """As many candidates as the batch has rows, by the rise of their own loss."""
        ahead = after_step(self.model, batch, require(self.optimizer))
        rows, seed = Inputs(candidates["video"], candidates["audio"]), mask_seed()
        with torch.no_grad():
            now = row_losses(self.model, None, rows, seed)
            rise = row_losses(self.model, ahead, rows, seed) - now
        worst = rise.argsort(descending=True, stable=True)[: len(batch)]
        return {name: value[worst] for name, value in candidates.items()}
