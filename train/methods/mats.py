"""MATS, motion-centric token selection (Hwang et al. 2022): keep what changes over time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.methods.base import Inputs
from avstore.train.methods.random import RandomPatches
from avstore.train.systems.cavmae.patches import Patches, choose


class MATS(RandomPatches):
    """Keeps the patches whose embedding differs most from that of the instant before.

    The paper selects video tokens by motion; the fbank's patches are treated alike along time.
    Patches of the first instant are compared with the second.
    """

    def select(self, batch: Inputs) -> Patches:
        c, patches = self.model.config, self.patches(batch)
        with torch.no_grad():
            video = change(_embed(self.model.video.patch, patches.video), c.frames)
            audio = change(_embed(self.model.audio.patch, patches.audio), c.audio_steps)
        return choose(
            patches,
            video.argsort(dim=1, descending=True, stable=True)[:, : self.keep_video],
            audio.argsort(dim=1, descending=True, stable=True)[:, : self.keep_audio],
        )


def change(embedded: Tensor, instants: int) -> Tensor:
    """Distance of each token [B, L, D], L = instants · places, to the instant before: [B, L]."""
    batch, length, width = embedded.shape
    x = embedded.reshape(batch, instants, length // instants, width)
    if instants == 1:
        return torch.zeros(batch, length, device=x.device)
    moved = (x[:, 1:] - x[:, :-1]).norm(dim=-1)
    return torch.cat([moved[:, :1], moved], dim=1).reshape(batch, length)


def _embed(patch: torch.nn.Conv2d, pixels: Tensor) -> Tensor:
    return F.linear(pixels.flatten(2), patch.weight.flatten(1), patch.bias).float()
