"""Dark experience replay ++ (Buzzega et al. 2020), with embeddings in the place of logits."""

from torch import Tensor

from avstore.train.methods.base import Inputs, MemoryOptions, ReplayMethod, penalty


class DERppOptions(MemoryOptions):
    """alpha: weight of the embeddings' drift."""

    alpha: float = 0.5


class DERpp(ReplayMethod):
    """Replay, and keep the replayed rows' pooled embeddings where they were when stored.

    The paper draws once for the drift and once for the replay; the STELLA paper's throughput
    and memory of DER++ equal those of ER, so one draw serves both, here as there.
    """

    Options = DERppOptions

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        _, past = self.draw(len(batch))
        out = self.cav_with(batch, past)
        found = {"cav": out.loss.mean()}
        if past:
            weight = self.options.alpha
            found["drift"] = penalty(weight, len(batch), out, past["z_a"], past["z_v"])
        self.remember(batch, z_a=out.audio[: len(batch)], z_v=out.video[: len(batch)])
        return found
