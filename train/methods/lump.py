"""LUMP (Madaan et al., ICLR 2022): train on mixtures of current and replayed rows."""

import torch
from pydantic import Field
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod


class LUMPOptions(MemoryOptions):
    """Settings of LUMP.

    Attributes:
        alpha: Both parameters of the mixing share's Beta distribution (0.4 in the authors' code).
    """

    alpha: float = Field(default=0.4, gt=0)


class LUMP(ReplayMethod):
    """Trains on λ · current + (1 − λ) · replayed rows, frames and fbank alike."""

    Options = LUMPOptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss of the mixed rows [B]."""
        _, past = self.draw(len(batch))
        mixed = batch
        if past:
            alpha = torch.tensor(self.options.alpha)
            share = float(torch.distributions.Beta(alpha, alpha).sample())
            # A memory with fewer rows than the batch gives its rows several times.
            partner = torch.arange(len(batch), device=batch.video.device) % len(past["video"])
            mixed = Inputs(
                share * batch.video + (1 - share) * past["video"][partner],
                share * batch.audio + (1 - share) * past["audio"][partner],
            )
        self.remember(batch)
        return {"cav": self.forward_masked(mixed).loss.mean()}
