"""Sequential finetuning: train on each task in turn, without replay. The lower bound."""

from torch import Tensor

from avstore.train.data import Batch
from avstore.train.methods.base import Method


class Finetune(Method):
    """Trains the system's loss on the current batch."""

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the parts of the system's loss."""
        out = self.objective(batch)
        parts = out.parts or {"objective": out.loss}
        return {name: value.mean() for name, value in parts.items()}
