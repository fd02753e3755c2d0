"""STELLA (Lee et al. 2024): train on patches that are aligned and not about to be forgotten."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod, Setup, penalty
from avstore.train.methods.memory import Rows
from avstore.train.methods.random import require_hidden
from avstore.train.systems.cavmae.matching import AudioVideoMatching, Merge, matching_loss, pair_up
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.patches import Patches, choose, concat
from avstore.train.systems.cavmae.selection import (
    Alignment,
    forgetting,
    localise,
    select_audio,
    select_video,
)


class STELLAOptions(MemoryOptions):
    """The published settings (spec 3.3); core_*_ratio is the share that is dropped.

    lpis and rca switch the two parts off for the ablation: without lpis all patches count the
    same; without rca nothing is pruned. avm_merge: see systems/cavmae/matching.py (B7).
    """

    alpha: float = 0.5
    core_video_ratio: float = 0.5
    core_audio_ratio: float = 0.5
    num_core_audio_times: int = 4
    temperature: float = 0.4
    matching_loss_weight: float = 1.0
    lpis: bool = True
    rca: bool = True
    avm_merge: Merge = "heads"


@dataclass(frozen=True)
class Choice:
    """Order of the patches of each row, and the probabilities of pruning them."""

    order_v: Tensor
    order_a: Tensor
    prune_v: Tensor
    prune_a: Tensor


class STELLA(ReplayMethod):
    """LPIS scores patches, RCA prunes, the rest is drawn and trained on with replay."""

    Options = STELLAOptions

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        c = model.config
        self.avm = AudioVideoMatching(c.width, c.heads, options.avm_merge)
        self.keep_v = int(c.video_tokens * (1 - options.core_video_ratio))
        self.keep_a = int(c.audio_tokens * (1 - options.core_audio_ratio))
        require_hidden(c, self.keep_v, self.keep_a)

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        patches = self.patches(batch)
        found, matching = self.align(patches)
        _, past = self.draw(len(batch))
        choice = self.choose_current(found, past)
        chosen = self.gather(patches, choice)
        if past:
            chosen = concat(chosen, self.choose_past(past))
        out = self.cav(chosen)
        losses = {"cav": out.loss.mean(), "matching": self.options.matching_loss_weight * matching}
        if past:
            weight = self.options.alpha
            losses["drift"] = penalty(weight, len(batch), out, past["z_a"], past["z_v"])
        z = {"z_a": out.audio[: len(batch)], "z_v": out.video[: len(batch)]}
        self.store(batch, chosen, choice, found, z)
        return losses

    def align(self, patches: Patches) -> tuple[Alignment, Tensor]:
        """Steps 1 and 2: importance of each patch, and the matching module's own loss.

        The backbone sees all patches and is not trained by this.
        """
        with torch.no_grad():
            codes_a, codes_v = self.model.codes(patches)
            joint_a, joint_v = self.model.join(codes_a, codes_v)
            projected = self.avm.project(joint_a, joint_v)
            o = self.options
            found = localise(projected, o.temperature, self.keep_v, self.keep_a, flat=not o.lpis)
            pairing = pair_up(len(patches), codes_a.device)
            # Rows that keep their video are joined already.
            apart = pairing.negatives
            mixed_a, mixed_v = self.model.join(codes_a[apart], codes_v[pairing.video[apart]])
            joint_a = joint_a.index_copy(0, apart, mixed_a.to(joint_a.dtype))
            joint_v = joint_v.index_copy(0, apart, mixed_v.to(joint_v.dtype))
        return found, matching_loss(self.avm(joint_a, joint_v), pairing.label)

    def choose_current(self, found: Alignment, past: Rows) -> Choice:
        """Steps 3 and 4 for the current rows; with no past, simply the most important patches."""
        prune_v, prune_a = (
            torch.zeros_like(found.importance_v),
            torch.zeros_like(found.importance_a),
        )
        if not past:
            return Choice(found.order_v, found.order_a, prune_v, prune_a)
        if self.options.rca:
            prune_v, prune_a = self.correlate(found, past)
        return Choice(
            self.order_video(found.importance_v, prune_v),
            self.order_audio(found.importance_a, prune_a),
            prune_v,
            prune_a,
        )

    def correlate(self, found: Alignment, past: Rows) -> tuple[Tensor, Tensor]:
        """Step 3: current row n against replayed row n (again from the first, if fewer)."""
        partner = self.partners(found, past)
        past_a, past_v = past["q_a"][partner], past["q_v"][partner]
        return (
            forgetting(found.keys_v, past_a, found.query_a, found.order_v, self.keep_v),
            forgetting(found.keys_a, past_v, found.query_v, found.order_a, self.keep_a),
        )

    def partners(self, found: Alignment, past: Rows) -> Tensor:
        """Which replayed row each current row is compared with."""
        return torch.arange(len(found.order_v), device=found.order_v.device) % len(past["q_a"])

    def choose_past(self, past: Rows) -> Patches:
        """Replayed rows are drawn anew, from their stored importance and probabilities."""
        choice = Choice(
            self.order_video(past["i_v"], past["p_v"]),
            self.order_audio(past["i_a"], past["p_a"]),
            past["p_v"],
            past["p_a"],
        )
        return self.gather(self.patches(Inputs(past["video"], past["audio"])), choice)

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        return select_video(importance, torch.rand_like(prune) < prune)

    def order_audio(self, importance: Tensor, prune: Tensor) -> Tensor:
        pruned = torch.rand_like(prune) < prune
        bands, steps = self.model.config.audio_bands, self.options.num_core_audio_times
        return select_audio(importance, pruned, self.keep_a, bands, steps)

    def gather(self, patches: Patches, choice: Choice) -> Patches:
        """Step 5: the pixels of the chosen patches."""
        return choose(patches, choice.order_v[:, : self.keep_v], choice.order_a[:, : self.keep_a])

    def store(
        self, batch: Inputs, chosen: Patches, choice: Choice, found: Alignment, z: Rows
    ) -> None:
        """Step 8: offer pixels, embeddings, queries, probabilities and importance."""
        self.remember(
            batch,
            q_a=found.query_a,
            q_v=found.query_v,
            p_v=choice.prune_v,
            p_a=choice.prune_a,
            i_v=found.importance_v,
            i_a=found.importance_a,
            **z,
        )
