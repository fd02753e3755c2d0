"""STELLA+ : STELLA whose memory holds the chosen patches only, about half of the bytes."""

import torch
from torch import Tensor

from train.memory import Rows
from train.methods.base import Inputs
from train.methods.stella import STELLA, Choice
from train.models.patches import Patches
from train.selection import Alignment
from train.selection.draw import sample_order


class STELLAPlus(STELLA):
    """Replays stored patches as they were chosen; nothing is drawn again (spec 3.5).

    Audio is compared in its own order throughout (the released code mixes two orders, bug B8).
    """

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
