"""Motion-centric token selection (MATS, Hwang et al., 2022): keep patches that change."""

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch
from avstore.train.methods.random import RandomPatches
from avstore.train.systems.cavmae.patches import Patches, select_patches


class MATS(RandomPatches):
    """Keeps the patches whose embedding differs most from the one at the time before.

    The paper selects video tokens by motion; fbank patches are selected alike. Patches of the first
    time are compared with the second.
    """

    def select(self, rows: Batch) -> Patches:
        """Return the patches of some rows that change most."""
        model, patches = self.objective.model, self.objective.patches(rows)
        with torch.no_grad():
            video = change(_embed(model.video.patch, patches.video), model.config.frames)
            audio = change(_embed(model.audio.patch, patches.audio), model.config.audio_steps)
        return select_patches(
            patches,
            video.argsort(dim=1, descending=True, stable=True)[:, : self.keep_v],
            audio.argsort(dim=1, descending=True, stable=True)[:, : self.keep_a],
        )


def change(embedded: Tensor, times: int) -> Tensor:
    """Return the distance of each token to the same place at the time before.

    Args:
        embedded: Tokens [B, L, D] with L = times · places, time-major.
        times: Frames or fbank steps.

    Returns:
        Distances [B, L].
    """
    batch, length, width = embedded.shape
    x = embedded.reshape(batch, times, length // times, width)
    if times == 1:
        return torch.zeros(batch, length, device=x.device)
    moved = (x[:, 1:] - x[:, :-1]).norm(dim=-1)
    return torch.cat([moved[:, :1], moved], dim=1).reshape(batch, length)


def _embed(patch: torch.nn.Conv2d, pixels: Tensor) -> Tensor:
    return F.linear(pixels.flatten(2), patch.weight.flatten(1), patch.bias).float()
