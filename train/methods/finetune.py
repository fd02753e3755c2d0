"""Sequential finetuning: train on what comes, remember nothing. The lower bound."""

from torch import Tensor

from avstore.train.methods.base import Inputs, Method


class Finetune(Method):
    """MAE and contrastive loss on the current batch."""

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        out = self.cav(batch)
        return {
            "mae_audio": out.mae_audio.mean(),
            "mae_video": out.mae_video.mean(),
            "contrast": out.contrast.mean(),
        }
