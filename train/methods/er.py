"""Experience replay (Rolnick et al., NeurIPS 2019; Chaudhry et al., 2019)."""

from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import ReplayMethod


class ER(ReplayMethod):
    """Trains on the current rows and as many replayed ones, in one batch."""

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss of current and replayed rows."""
        rows = join(batch, past) if past else batch
        return {"objective": self.objective(rows).loss.mean()}
