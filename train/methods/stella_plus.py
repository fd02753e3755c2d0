"""STELLA+ : STELLA whose memory holds the chosen patches only, about half of the bytes."""

from typing import Literal

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs
from avstore.train.methods.memory import Rows
from avstore.train.methods.stella import STELLA, Choice, STELLAOptions
from avstore.train.systems.cavmae.patches import Patches
from avstore.train.systems.cavmae.selection import Alignment, forgetting, mean_query
from avstore.train.systems.cavmae.selection.draw import sample_order


class STELLAPlusOptions(STELLAOptions):
    """core_order: what audio is compared with. "own": the core video patches, each with its own
    weight. "published": the newly chosen ones with the weights of the old order (bug B8)."""

    core_order: Literal["own", "published"] = "own"


class STELLAPlus(STELLA):
    """Replays stored patches as they were chosen; nothing is drawn again (spec 3.5)."""

    Options = STELLAPlusOptions

    def choose_current(self, found: Alignment, past: Rows) -> Choice:
        choice = super().choose_current(found, past)
        if not (past and self.options.rca and self.options.core_order == "published"):
            return choice
        old, new = found.order_v[:, : self.keep_v], choice.order_v[:, : self.keep_v]
        mixed = mean_query(found.queries_v, found.importance_v, new, old)
        past_v = past["q_v"][self.partners(found, past)]
        prune_a = forgetting(found.keys_a, past_v, mixed, found.order_a, self.keep_a)
        order_a = self.order_audio(found.importance_a, prune_a)
        return Choice(choice.order_v, order_a, choice.prune_v, prune_a)

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        pruned = torch.rand_like(prune) < prune
        drawn = sample_order(importance.masked_fill(pruned, 0.0))
        kept = drawn[:, : self.keep_v].sort(dim=1).values
        return torch.cat([kept, drawn[:, self.keep_v :]], dim=1)

    def choose_past(self, past: Rows) -> Patches:
        return Patches(past["video"], past["audio"], past["ids_v"], past["ids_a"])

    def store(
        self, batch: Inputs, chosen: Patches, choice: Choice, found: Alignment, z: Rows
    ) -> None:
        own = chosen.rows(slice(0, len(batch)))
        self.memory.add(
            {
                "video": own.video,
                "audio": own.audio,
                "ids_v": own.video_ids,
                "ids_a": own.audio_ids,
                "q_a": found.query_a,
                "q_v": found.query_v,
                **z,
            }
        )
