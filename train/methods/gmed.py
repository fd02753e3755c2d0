"""Gradient-based memory editing (Jin et al. 2021)."""

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod
from avstore.train.methods.memory import Rows
from avstore.train.methods.virtual import after_step, mask_seed, require, row_losses


class GMEDOptions(MemoryOptions):
    """grad_stride: length of an edit; reg_strength: pull towards low loss now (β).

    edit_decay: an example's n-th edit is (1 − edit_decay)^n as long.
    """

    grad_stride: float = 0.1
    reg_strength: float = 0.05
    edit_decay: float = 0.0


class GMED(ReplayMethod):
    """Edits the replayed pixels towards what the current batch would make forgotten, keeps them."""

    Options = GMEDOptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        slots, past = self.draw(len(batch))
        if past:
            past = self.edit(batch, past)
            self.memory.write(slots, past)
        loss = self.cav_with(batch, past).loss.mean()
        zeros = torch.zeros(len(batch), device=batch.video.device)
        self.remember(batch, edits=zeros)
        return {"cav": loss}

    def edit(self, batch: Inputs, past: Rows) -> Rows:
        """x + stride · (1 − decay)^edits · ∇x [ℓ(x; θ') − ℓ(x; θ) − β ℓ(x; θ)]."""
        o = self.options
        ahead = after_step(self.model, batch, require(self.optimizer))
        video = past["video"].detach().requires_grad_()
        audio = past["audio"].detach().requires_grad_()
        rows, seed = Inputs(video, audio), mask_seed()
        # The two losses are summed over rows: a row's gradient is that of its own loss (and of
        # its part in others' contrast), whatever the size of the draw.
        future = row_losses(self.model, ahead, rows, seed).sum()
        now = row_losses(self.model, None, rows, seed).sum()
        gain = future - (1 + o.reg_strength) * now
        step_v, step_a = torch.autograd.grad(gain, [video, audio])
        stride = o.grad_stride * (1 - o.edit_decay) ** past["edits"]
        return {
            "video": (video + stride.view(-1, 1, 1, 1, 1) * step_v).detach(),
            "audio": (audio + stride.view(-1, 1, 1, 1) * step_a).detach(),
            "edits": past["edits"] + 1,
        }
