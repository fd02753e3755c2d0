"""Gradient-based Memory EDiting (Jin et al., NeurIPS 2021)."""

import torch
from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod
from avstore.train.methods.lookahead import look_ahead, mask_seed, require_optimizer, row_losses
from avstore.train.methods.memory import Rows


class GMEDOptions(MemoryOptions):
    """Settings of GMED.

    Attributes:
        grad_stride: Length of an edit.
        reg_strength: Weight of a low current loss (β).
        edit_decay: The n-th edit of an example, from 0, is (1 − edit_decay)^n as long.
    """

    grad_stride: float = 0.1
    reg_strength: float = 0.05
    edit_decay: float = 0.0


class GMED(ReplayMethod):
    """Replays after moving the stored pixels to where the current batch raises the loss most."""

    Options = GMEDOptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss of current and edited rows."""
        slots, past = self.draw(len(batch))
        if past:
            past = self.edit(batch, past)
            self.memory.write(slots, past)
        loss = self.forward_with_past(batch, past).loss.mean()
        zeros = torch.zeros(len(batch), device=batch.video.device)
        self.remember(batch, edits=zeros)
        return {"cav": loss}

    def edit(self, batch: Inputs, past: Rows) -> Rows:
        """Return the rows x + stride · (1 − decay)^edits · ∇x [ℓ(x; θ') − (1 + β) ℓ(x; θ)]."""
        o = self.options
        ahead = look_ahead(self.model, batch, require_optimizer(self.optimizer))
        video = past["video"].detach().requires_grad_()
        audio = past["audio"].detach().requires_grad_()
        rows, seed = Inputs(video, audio), mask_seed()
        # Sums, so that a row's gradient does not depend on the size of the draw. It includes the
        # row's part in the contrastive loss of the others.
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
