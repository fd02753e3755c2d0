"""STELLA (Lee et al., ICML 2024): train on aligned patches that do not cause forgetting.

The numbered steps are those of the released training code.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.methods.base import Setup, drift
from avstore.train.methods.kept import Rows
from avstore.train.methods.patch_selection import SelectionMethod, SelectionOptions
from avstore.train.objective import Objective
from avstore.train.systems.cavmae.matching import AudioVideoMatching, Merge, matching_loss, pair_up
from avstore.train.systems.cavmae.patches import Patches, concat, select_patches
from avstore.train.systems.cavmae.selection import (
    Alignment,
    forgetting,
    localise,
    select_audio,
    select_video,
)


class STELLAOptions(SelectionOptions):
    """The published settings.

    Attributes:
        num_core_audio_times: Time steps of a chunk of audio patches.
        temperature: Of the attention that gives importance.
        matching_loss_weight: Weight of the matching module's loss.
        lpis: Whether to score patches; without it all are equally important.
        rca: Whether to prune patches that are correlated with the past.
        avm_merge: How the matching module merges heads; see `AudioVideoMatching` (bug B7).
    """

    num_core_audio_times: int = 4
    temperature: float = 0.4
    matching_loss_weight: float = 1.0
    lpis: bool = True
    rca: bool = True
    avm_merge: Merge = "heads"


@dataclass(frozen=True)
class PatchChoice:
    """Order of each row's patches, and the probabilities of pruning them.

    Attributes:
        order_v: Video patches [B, Lv]; the first κ_v are trained on.
        order_a: Audio patches [B, La]; the first κ_a are trained on.
        prune_v: Probabilities of the video patches [B, Lv].
        prune_a: Probabilities of the audio patches [B, La].
    """

    order_v: Tensor
    order_a: Tensor
    prune_v: Tensor
    prune_a: Tensor


class STELLA(SelectionMethod):
    """Scores patches (LPIS), prunes (RCA), draws from the rest and trains with replay.

    Attributes:
        avm: The matching module.
    """

    Options = STELLAOptions

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        config = self.objective.model.config
        self.avm = AudioVideoMatching(config.width, config.heads, options.avm_merge)

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return masked loss, matching loss and the drift of replayed rows."""
        patches = self.objective.patches(batch)
        alignment, matching = self.align(patches)
        before = self.beside.read(past.slots, batch.frames.device) if past else {}
        choice = self.choose_current(alignment, before)
        chosen = self.gather(patches, choice)
        if past:
            chosen = concat(chosen, self.choose_past(self.objective.patches(past), before))
        out, count = self.objective.on_patches(chosen), len(batch)
        losses = {
            "objective": out.loss.mean(),
            "matching": self.options.matching_loss_weight * matching,
        }
        if past:
            now = {"z_a": out.audio[count:], "z_v": out.video[count:]}
            losses["drift"] = drift(self.options.alpha, now, before)
        kept = self.to_keep(chosen.rows(slice(0, count)), choice, alignment)
        self.beside.write(batch.slots, z_a=out.audio[:count], z_v=out.video[:count], **kept)
        return losses

    def align(self, patches: Patches) -> tuple[Alignment, Tensor]:
        """Return the importance of each patch and the matching loss (steps 1 and 2).

        The backbone sees all patches, without gradient.
        """
        with torch.no_grad():
            codes_a, codes_v = self.objective.model.codes(patches)
            joint_a, joint_v = self.objective.model.join(codes_a, codes_v)
            projected = self.avm.project(joint_a, joint_v)
            o = self.options
            alignment = localise(
                projected, o.temperature, self.keep_v, self.keep_a, flat=not o.lpis
            )
            pairing = pair_up(len(patches), codes_a.device)
            # Rows that keep their own video have passed the joint blocks already.
            apart, videos = pairing.negatives, dist.in_order(dist.gather_rows(codes_v))
            mixed_a, mixed_v = self.objective.model.join(
                codes_a[apart], videos[pairing.video[apart]]
            )
            joint_a = joint_a.index_copy(0, apart, mixed_a.to(joint_a.dtype))
            joint_v = joint_v.index_copy(0, apart, mixed_v.to(joint_v.dtype))
        return alignment, matching_loss(self.avm(joint_a, joint_v), pairing.label)

    def choose_current(self, alignment: Alignment, before: Rows) -> PatchChoice:
        """Choose patches of the current rows (steps 3 and 4); the most important without a past."""
        prune_v, prune_a = (
            torch.zeros_like(alignment.importance_v),
            torch.zeros_like(alignment.importance_a),
        )
        if not before:
            return PatchChoice(alignment.order_v, alignment.order_a, prune_v, prune_a)
        if self.options.rca:
            prune_v, prune_a = self.correlate(alignment, before)
        return PatchChoice(
            self.order_video(alignment.importance_v, prune_v),
            self.order_audio(alignment.importance_a, prune_a),
            prune_v,
            prune_a,
        )

    def correlate(self, alignment: Alignment, before: Rows) -> tuple[Tensor, Tensor]:
        """Return the pruning probabilities of video [B, Lv] and audio [B, La] (step 3)."""
        partner = self.partners(alignment, before)
        past_a, past_v = before["q_a"][partner], before["q_v"][partner]
        return (
            forgetting(alignment.keys_v, past_a, alignment.query_a, alignment.order_v, self.keep_v),
            forgetting(alignment.keys_a, past_v, alignment.query_v, alignment.order_a, self.keep_a),
        )

    def partners(self, alignment: Alignment, before: Rows) -> Tensor:
        """Return the replayed row to compare each current row with [B]: row n with row n.

        Fewer replayed rows than current ones are used several times.
        """
        return torch.arange(len(alignment.order_v), device=alignment.order_v.device) % len(
            before["q_a"]
        )

    def choose_past(self, patches: Patches, before: Rows) -> Patches:
        """Draw patches of replayed rows by their stored importance and probabilities."""
        choice = PatchChoice(
            self.order_video(before["i_v"], before["p_v"]),
            self.order_audio(before["i_a"], before["p_a"]),
            before["p_v"],
            before["p_a"],
        )
        return self.gather(patches, choice)

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order of video patches [B, Lv]."""
        return select_video(importance, dist.rand_like(prune) < prune)

    def order_audio(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order of audio patches [B, La], in chunks of time."""
        pruned = dist.rand_like(prune) < prune
        bands, steps = self.objective.model.config.audio_bands, self.options.num_core_audio_times
        return select_audio(importance, pruned, self.keep_a, bands, steps)

    def gather(self, patches: Patches, choice: PatchChoice) -> Patches:
        """Return the pixels of the chosen patches (step 5)."""
        return select_patches(
            patches, choice.order_v[:, : self.keep_v], choice.order_a[:, : self.keep_a]
        )

    def to_keep(self, chosen: Patches, choice: PatchChoice, alignment: Alignment) -> Rows:
        """Return queries, probabilities and importance of the current rows (step 8)."""
        return {
            "q_a": alignment.query_a,
            "q_v": alignment.query_v,
            "p_v": choice.prune_v,
            "p_a": choice.prune_a,
            "i_v": alignment.importance_v,
            "i_a": alignment.importance_a,
        }
