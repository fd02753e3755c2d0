"""STELLA+ (Lee et al., ICML 2024): STELLA whose memory keeps the selected patches."""

from typing import Literal

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.methods.kept import Rows
from avstore.train.methods.stella import STELLA, PatchChoice, STELLAOptions
from avstore.train.systems.cavmae.patches import Patches, select_patches
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
    """Replays the patches that were selected, without selecting again."""

    Options = STELLAPlusOptions

    def choose_current(self, alignment: Alignment, before: Rows) -> PatchChoice:
        """Return the choice of current patches, with the published comparison on request."""
        choice = super().choose_current(alignment, before)
        if not (before and self.options.rca and self.options.core_order == "published"):
            return choice
        old, new = alignment.order_v[:, : self.keep_v], choice.order_v[:, : self.keep_v]
        mixed = mean_query(alignment.queries_v, alignment.importance_v, new, old)
        past_v = before["q_v"][self.partners(alignment, before)]
        prune_a = forgetting(alignment.keys_a, past_v, mixed, alignment.order_a, self.keep_a)
        order_a = self.order_audio(alignment.importance_a, prune_a)
        return PatchChoice(choice.order_v, order_a, choice.prune_v, prune_a)

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order [B, L] whose kept patches are in token order."""
        pruned = dist.rand_like(prune) < prune
        drawn = sample_order(importance.masked_fill(pruned, 0.0))
        kept = drawn[:, : self.keep_v].sort(dim=1).values
        return torch.cat([kept, drawn[:, self.keep_v :]], dim=1)

    def choose_past(self, patches: Patches, before: Rows) -> Patches:
        """Return the patches that were selected when the rows were first seen."""
        return select_patches(patches, before["ids_v"], before["ids_a"])

    def to_keep(self, chosen: Patches, choice: PatchChoice, alignment: Alignment) -> Rows:
        """Return queries, and which patches of the current rows were selected."""
        return {
            "q_a": alignment.query_a,
            "q_v": alignment.query_v,
            "ids_v": chosen.video_ids,
            "ids_a": chosen.audio_ids,
        }
