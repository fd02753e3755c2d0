"""STELLA+ (Lee et al., ICML 2024): STELLA whose memory keeps only the selected patches."""

from typing import Literal

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs
from avstore.train.methods.memory import Rows
from avstore.train.methods.stella import STELLA, PatchChoice, STELLAOptions
from avstore.train.systems.cavmae.patches import Patches
from avstore.train.systems.cavmae.selection import Alignment, forgetting, mean_query
from avstore.train.systems.cavmae.selection.draw import sample_order


class STELLAPlusOptions(STELLAOptions):
    """Settings of STELLA+.

    Attributes:
        core_order: Video patches that audio is compared with: the core patches, each with its own
            weight ("own"), or the newly selected ones with the weights of the core patches, as the
            released code does ("published", bug B8).
    """

    core_order: Literal["own", "published"] = "own"


class STELLAPlus(STELLA):
    """Replays stored patches without selecting again; a memory takes half of the bytes."""

    Options = STELLAPlusOptions

    def choose_current(self, alignment: Alignment, past: Rows) -> PatchChoice:
        """Return the choice of current patches, with the published comparison on request."""
        choice = super().choose_current(alignment, past)
        if not (past and self.options.rca and self.options.core_order == "published"):
            return choice
        old, new = alignment.order_v[:, : self.keep_v], choice.order_v[:, : self.keep_v]
        mixed = mean_query(alignment.queries_v, alignment.importance_v, new, old)
        past_v = past["q_v"][self.partners(alignment, past)]
        prune_a = forgetting(alignment.keys_a, past_v, mixed, alignment.order_a, self.keep_a)
        order_a = self.order_audio(alignment.importance_a, prune_a)
        return PatchChoice(choice.order_v, order_a, choice.prune_v, prune_a)

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order [B, L] whose kept patches are in token order."""
        pruned = torch.rand_like(prune) < prune
        drawn = sample_order(importance.masked_fill(pruned, 0.0))
        kept = drawn[:, : self.keep_v].sort(dim=1).values
        return torch.cat([kept, drawn[:, self.keep_v :]], dim=1)

    def choose_past(self, past: Rows) -> Patches:
        """Return the stored patches."""
        return Patches(past["video"], past["audio"], past["ids_v"], past["ids_a"])

    def store(
        self, batch: Inputs, chosen: Patches, choice: PatchChoice, alignment: Alignment, z: Rows
    ) -> None:
        """Offer the selected patches of the current rows to the memory."""
        own = chosen.rows(slice(0, len(batch)))
        self.memory.add(
            {
                "video": own.video,
                "audio": own.audio,
                "ids_v": own.video_ids,
                "ids_a": own.audio_ids,
                "q_a": alignment.query_a,
                "q_v": alignment.query_v,
                **z,
            }
        )
