"""Pre-training of STELLA's audio-video matching module (Lee et al., ICML 2024)."""

from typing import Any

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.methods.base import Method, Options, Setup
from avstore.train.methods.patch_selection import require_patches
from avstore.train.objective import Objective
from avstore.train.systems.cavmae.matching import AudioVideoMatching, Merge, matching_loss, pair_up
from avstore.train.systems.cavmae.objective import CAVMAEObjective


class MatchingOptions(Options):
    """Settings of the matching module.

    Attributes:
        avm_merge: How heads are merged; see `AudioVideoMatching` (bug B7).
    """

    avm_merge: Merge = "heads"


class MatchingPretraining(Method):
    """Trains the matching module on a frozen backbone."""

    Options = MatchingOptions
    objective: CAVMAEObjective

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        own = require_patches(objective, type(self).__name__).requires_grad_(False)
        super().__init__(own, options, setup)
        config = self.objective.model.config
        self.avm = AudioVideoMatching(config.width, config.heads, options.avm_merge)

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the matching loss of half true and half swapped pairs."""
        model = self.objective.model
        with torch.no_grad():
            audio, video = model.codes(self.objective.patches(batch))
            pairing = pair_up(len(batch), audio.device)
            mixed = model.join(audio, video[pairing.video])
        return {"matching": matching_loss(self.avm(*mixed), pairing.label)}
