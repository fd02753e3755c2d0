"""Sequential finetuning: train on each task in turn, without replay. The lower bound."""

from torch import Tensor

from avstore.train.methods.base import Inputs, Method


class Finetune(Method):
    """Trains reconstruction and contrastive loss on the current batch."""

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return the reconstruction losses and the contrastive loss."""
        out = self.forward_masked(batch)
        return {
            "mae_audio": out.mae_audio.mean(),
            "mae_video": out.mae_video.mean(),
            "contrast": out.contrast.mean(),
        }
