"""LUMP (Madaan et al. 2022): train on mixtures of the current batch with the past."""

import torch
from pydantic import Field
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod


class LUMPOptions(MemoryOptions):
    """alpha: both parameters of the Beta distribution of the mixing share (the authors' 0.4)."""

    alpha: float = Field(default=0.4, gt=0)


class LUMP(ReplayMethod):
    """λ current + (1 − λ) past, pixels and spectrogram alike; no more rows than the batch has."""

    Options = LUMPOptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        _, past = self.draw(len(batch))
        mixed = batch
        if past:
            alpha = torch.tensor(self.options.alpha)
            share = float(torch.distributions.Beta(alpha, alpha).sample())
            # While the memory holds fewer rows than the batch, they are used again.
            partner = torch.arange(len(batch), device=batch.video.device) % len(past["video"])
            mixed = Inputs(
                share * batch.video + (1 - share) * past["video"][partner],
                share * batch.audio + (1 - share) * past["audio"][partner],
            )
        self.remember(batch)
        return {"cav": self.cav(mixed).loss.mean()}
