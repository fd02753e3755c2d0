"""Pre-training of STELLA's audio-video matching module (Lee et al., ICML 2024)."""

from typing import Any

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, Method, Options, Setup
from avstore.train.systems.cavmae.matching import AudioVideoMatching, Merge, matching_loss, pair_up
from avstore.train.systems.cavmae.model import CAVMAE


class MatchingOptions(Options):
    """Settings of the matching module.

    Attributes:
        avm_merge: How heads are merged; see `AudioVideoMatching` (bug B7).
    """

    avm_merge: Merge = "heads"


class MatchingPretraining(Method):
    """Trains the matching module on a frozen backbone."""

    Options = MatchingOptions

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model.requires_grad_(False), options, setup)
        self.avm = AudioVideoMatching(model.config.width, model.config.heads, options.avm_merge)

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the matching loss of half true and half swapped pairs."""
        with torch.no_grad():
            audio, video = self.model.codes(self.patches(batch))
            pairing = pair_up(len(batch), audio.device)
            mixed = self.model.join(audio, video[pairing.video])
        return {"matching": matching_loss(self.avm(*mixed), pairing.label)}
