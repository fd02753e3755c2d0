"""Experience replay (Rolnick et al., NeurIPS 2019; Chaudhry et al., 2019)."""

from torch import Tensor

from avstore.train.methods.base import Inputs, ReplayMethod


class ER(ReplayMethod):
    """Trains on the current rows and as many replayed ones, in one contrastive batch."""

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss of current and replayed rows."""
        _, past = self.draw(len(batch))
        loss = self.forward_with_past(batch, past).loss.mean()
        self.remember(batch)
        return {"cav": loss}
