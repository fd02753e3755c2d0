"""Maximally interfered retrieval (Aljundi et al., NeurIPS 2019)."""

import math

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import MemoryOptions, ReplayMethod
from avstore.train.methods.lookahead import look_ahead, require_optimizer, row_losses


class MIROptions(MemoryOptions):
    """Settings of MIR.

    Attributes:
        search_factor: Candidates to draw, as a multiple of the batch.
    """

    search_factor: int = 5


class MIR(ReplayMethod):
    """Replays the candidates whose loss a step on the current batch would raise most."""

    Options = MIROptions

    @property
    def replay(self) -> int:
        """Candidates for each current row."""
        return int(self.options.search_factor)

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss of current and replayed rows."""
        rows = join(batch, self.most_interfered(batch, past)) if past else batch
        return {"objective": self.objective(rows).loss.mean()}

    def most_interfered(self, batch: Batch, candidates: Batch) -> Batch:
        """Return as many candidates as the batch has rows, by the rise of their loss.

        Each reservoir gives equally many, so that the choice is the same on any number of
        processes.
        """
        ahead = look_ahead(self.objective, batch, require_optimizer(self.optimizer))
        draws = self.objective.draw(candidates)
        with torch.no_grad():
            now = row_losses(self.objective, None, candidates, draws)
            rise = row_losses(self.objective, ahead, candidates, draws) - now
        own = math.gcd(len(self.beside.own), len(candidates))
        by_reservoir = torch.arange(len(candidates), device=rise.device).reshape(-1, own)
        ranked = rise.reshape(-1, own).argsort(dim=0, descending=True, stable=True)
        return candidates.rows(by_reservoir.gather(0, ranked).flatten()[: len(batch)])
