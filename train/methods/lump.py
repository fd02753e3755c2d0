"""LUMP (Madaan et al., ICLR 2022): train on mixtures of current and replayed rows."""

import torch
from pydantic import Field
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.methods.base import MemoryOptions, ReplayMethod
from avstore.train.methods.pixels import inputs_of, with_inputs


class LUMPOptions(MemoryOptions):
    """Settings of LUMP.

    Attributes:
        alpha: Both parameters of the mixing share's Beta distribution (0.4 in the authors' code).
    """

    alpha: float = Field(default=0.4, gt=0)


class LUMP(ReplayMethod):
    """Trains on λ · current + (1 − λ) · replayed rows, all inputs alike."""

    Options = LUMPOptions

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss of the mixed rows [B]."""
        mixed = self.mix(batch, past) if past else batch
        return {"objective": self.objective(mixed).loss.mean()}

    def mix(self, batch: Batch, past: Batch) -> Batch:
        """Return the batch, mixed with replayed rows."""
        alpha = torch.tensor(self.options.alpha)
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        own, other = inputs_of(batch), inputs_of(past)
        # A memory with fewer rows than the batch gives its rows several times.
        partner = torch.arange(len(batch)) % len(past)
        mixed = {name: share * x + (1 - share) * other[name][partner] for name, x in own.items()}
        return with_inputs(batch, mixed)
