"""Fbanks finished on the device, a batch at a time: widened, masked, normalised, noisy, rolled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.data.transforms.spectrograms import FbankChoices


@dataclass(frozen=True)
class FbankFinish:
    """What is left to do to the fbanks of a batch, and what was drawn for it; B rows.

    choices: int64 [B, 6]: first and end of the band of bins and of the span of frames that are
    blanked, the roll, the noise's seed. strengths: float32 [B] of the noise. mean, std: of the
    unnormalised fbank.
    """

    choices: Tensor
    strengths: Tensor
    mean: float
    std: float

    @staticmethod
    def of(drawn: Sequence[FbankChoices], mean: float, std: float) -> "FbankFinish":
        rows = [(*one.bins, *one.frames, one.roll, one.seed) for one in drawn]
        strengths = torch.tensor([one.strength for one in drawn], dtype=torch.float32)
        return FbankFinish(torch.tensor(rows), strengths, mean, std)

    def apply(self, audio: Tensor) -> Tensor:
        """Fbanks as stored [B, 1, frames, mels] as float32, as the workers make them but for the
        noise's numbers: those are of the device's own generator, seeded row by row."""
        fbanks = audio[:, 0].float()
        low, high, start, stop, rolls, _ = self.choices.to(audio.device).T[:, :, None]
        bins = torch.arange(fbanks.shape[2], device=audio.device)
        times = torch.arange(fbanks.shape[1], device=audio.device)
        if (high > low).any() or (stop > start).any():
            fbanks *= ~((bins >= low) & (bins < high))[:, None]
            fbanks *= ~((times >= start) & (times < stop))[..., None]
        fbanks = fbanks.sub_(self.mean).div_(self.std)
        if self.strengths.any():
            fbanks += self._noise(fbanks) * self.strengths.to(audio.device)[:, None, None]
        if rolls.any():
            places = (times - rolls) % fbanks.shape[1]
            fbanks = fbanks.gather(1, places[..., None].expand_as(fbanks))
        return fbanks[:, None]

    def _noise(self, fbanks: Tensor) -> Tensor:
        """Uniform in [0, 1), each row a function of its seed."""
        noise = torch.empty_like(fbanks)
        generator = torch.Generator(fbanks.device)
        for row, seed in zip(noise, self.choices[:, 5].tolist(), strict=True):
            row.uniform_(generator=generator.manual_seed(seed))
        return noise
