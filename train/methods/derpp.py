"""Dark Experience Replay++ (Buzzega et al., NeurIPS 2020), with embeddings instead of logits."""

from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod, penalty
from avstore.train.systems.cavmae.patches import Patches, concat


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

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the masked loss and the drift of replayed rows."""
        _, past = self.draw(len(batch))
        chosen = self.select(batch)
        if past:
            chosen = concat(chosen, self.select(Inputs(past["video"], past["audio"])))
        out = self.forward_masked(chosen)
        losses = {"cav": out.loss.mean()}
        if past:
            weight = self.options.alpha
            losses["drift"] = penalty(weight, len(batch), out, past["z_a"], past["z_v"])
        self.remember(batch, z_a=out.audio[: len(batch)], z_v=out.video[: len(batch)])
        return losses

    def select(self, batch: Inputs) -> Patches:
        """Return the patches of a batch to train on: all."""
        return self.patches(batch)
