"""Dark Experience Replay++ (Buzzega et al., NeurIPS 2020), with embeddings instead of logits."""

from torch import Tensor

from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.methods.base import MemoryOptions, ReplayMethod, drift
from avstore.train.objective import Output


class DERppOptions(MemoryOptions):
    """Settings of DER++.

    Attributes:
        alpha: Weight of the embeddings' drift.
    """

    alpha: float = 0.5


class DERpp(ReplayMethod):
    """Replays, and penalises the drift of replayed rows' embeddings since they were stored.

    The DER++ paper draws once for the drift and once for the replay. In the STELLA paper DER++ has
    ER's throughput and memory, so one draw serves both, as here.
    """

    Options = DERppOptions

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss and the drift of replayed rows."""
        out = self.output(join(batch, past) if past else batch)
        losses = {"objective": out.loss.mean()}
        count = len(batch)
        if past:
            now = {name: value[count:] for name, value in out.embeddings.items()}
            before = self.beside.read(past.slots, out.loss.device)
            losses["drift"] = drift(self.options.alpha, now, before)
        own = {name: value[:count] for name, value in out.embeddings.items()}
        self.beside.write(batch.slots, **own)
        return losses

    def output(self, rows: Batch) -> Output:
        """Return the system's output for current and replayed rows."""
        out: Output = self.objective(rows)
        return out
