"""Maximally interfered retrieval (Aljundi et al., NeurIPS 2019)."""

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod
from avstore.train.methods.lookahead import look_ahead, mask_seed, require_optimizer, row_losses
from avstore.train.methods.memory import Rows


class MIROptions(MemoryOptions):
    """Settings of MIR.

    Attributes:
        search_factor: Candidates to draw, as a multiple of the batch.
    """

    search_factor: int = 5


class MIR(ReplayMethod):
    """Replays the candidates whose loss a step on the current batch would raise most."""

    Options = MIROptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss of current and replayed rows."""
        _, past = self.draw(self.options.search_factor * len(batch))
        if past:
            past = self.most_interfered(batch, past)
        loss = self.forward_with_past(batch, past).loss.mean()
        self.remember(batch)
        return {"cav": loss}

    def most_interfered(self, batch: Inputs, candidates: Rows) -> Rows:
        """Return as many candidates as the batch has rows, by the rise of their loss."""
        ahead = look_ahead(self.model, batch, require_optimizer(self.optimizer))
        rows, seed = Inputs(candidates["video"], candidates["audio"]), mask_seed()
        with torch.no_grad():
            now = row_losses(self.model, None, rows, seed)
            rise = row_losses(self.model, ahead, rows, seed) - now
        worst = rise.argsort(descending=True, stable=True)[: len(batch)]
        return {name: value[worst] for name, value in candidates.items()}
