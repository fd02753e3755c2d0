"""Gradient-based Memory EDiting (Jin et al., NeurIPS 2021)."""

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import MemoryOptions
from avstore.train.methods.host_memory import HostMemoryMethod
from avstore.train.methods.kept import Rows
from avstore.train.methods.lookahead import look_ahead, require_optimizer, row_losses
from avstore.train.methods.pixels import LABELS, batch_of


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


class GMED(HostMemoryMethod):
    """Replays after moving the stored inputs to where the current batch raises the loss most.

    Edited inputs are none that a loader could make again, so the memory holds them, in host memory.
    """

    Options = GMEDOptions

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss of current and edited rows."""
        slots, rows = self.draw_rows(len(batch))
        edits = rows.pop("edits", None)
        together = batch
        if edits is not None:
            rows = self.edit(batch, rows, edits)
            self.memory.write(slots, {**rows, "edits": edits + 1})
            together = join(batch, batch_of(rows, batch))
        loss = self.objective(together).loss.mean()
        self.remember(batch, edits=torch.zeros(len(batch), device=loss.device))
        return {"objective": loss}

    def edit(self, batch: Batch, past: Rows, edits: Tensor) -> Rows:
        """Return the rows x + stride · (1 − decay)^edits · ∇x [ℓ(x; θ') − (1 + β) ℓ(x; θ)].

        Args:
            batch: The current rows.
            past: Inputs of the replayed rows by name, [N, ...]; labels are not edited.
            edits: How often each was edited [N].
        """
        o = self.options
        ahead = look_ahead(self.objective, batch, require_optimizer(self.optimizer))
        inputs = {
            name: value.detach().requires_grad_() for name, value in past.items() if name != LABELS
        }
        rows = batch_of({**past, **inputs}, batch)
        draws = self.objective.draw(rows)
        # Sums, so that a row's gradient does not depend on the size of the draw. It includes the
        # row's part in the contrastive loss of the others.
        future = row_losses(self.objective, ahead, rows, draws).sum()
        now = row_losses(self.objective, None, rows, draws).sum()
        gain = future - (1 + o.reg_strength) * now
        steps = torch.autograd.grad(gain, list(inputs.values()), allow_unused=True)
        stride = o.grad_stride * (1 - o.edit_decay) ** edits
        edited = {
            name: value.detach()
            if step is None
            else (value + _by_row(stride, value) * step).detach()
            for (name, value), step in zip(inputs.items(), steps, strict=True)
        }
        return {**past, **edited}


def _by_row(factor: Tensor, like: Tensor) -> Tensor:
    """Return a factor a row [N] in the shape of rows [N, ...]."""
    return factor.reshape(-1, *[1] * (like.dim() - 1))
