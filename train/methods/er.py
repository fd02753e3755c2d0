"""Experience replay (Rolnick et al. 2019; Chaudhry et al. 2019)."""

from torch import Tensor

from avstore.train.methods.base import Inputs, ReplayMethod


class ER(ReplayMethod):
    """Current rows and as many from memory, in one batch with one contrastive loss."""

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        _, past = self.draw(len(batch))
        loss = self.cav_with(batch, past).loss.mean()
        self.remember(batch)
        return {"cav": loss}
