"""Random patch selection: DER++ on half of the patches, the control of STELLA's ablation."""

from typing import Any

from avstore.train.errors import UserError
from avstore.train.methods.base import Inputs, Setup
from avstore.train.methods.derpp import DERpp, DERppOptions
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.patches import Patches, select_patches, shuffle


class SelectionOptions(DERppOptions):
    """Settings of methods that select patches, under the names of the published settings.

    Attributes:
        core_video_ratio: Share of video patches to drop.
        core_audio_ratio: Share of audio patches to drop.
    """

    core_video_ratio: float = 0.5
    core_audio_ratio: float = 0.5


class RandomPatches(DERpp):
    """Keeps a random half of the patches of every row, current and replayed."""

    Options = SelectionOptions

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        require_hidden(model.config, self.keep_video, self.keep_audio)

    @property
    def keep_video(self) -> int:
        """Video patches to keep (κ_v)."""
        return int(self.model.config.video_tokens * (1 - self.options.core_video_ratio))

    @property
    def keep_audio(self) -> int:
        """Audio patches to keep (κ_a)."""
        return int(self.model.config.audio_tokens * (1 - self.options.core_audio_ratio))

    def select(self, batch: Inputs) -> Patches:
        """Return random patches of a batch."""
        c, device = self.model.config, batch.video.device
        return select_patches(
            self.patches(batch),
            shuffle(len(batch), c.video_tokens, device)[:, : self.keep_video],
            shuffle(len(batch), c.audio_tokens, device)[:, : self.keep_audio],
        )


def require_hidden(config: ModelConfig, keep_video: int, keep_audio: int) -> None:
    """Check that some of the kept patches are hidden, so that there is something to predict.

    Raises:
        UserError: All kept patches of a modality are visible.
    """
    for name, keep, seen in (
        ("video", keep_video, config.video_visible),
        ("audio", keep_audio, config.audio_visible),
    ):
        if keep <= seen:
            raise UserError(
                f"{keep} {name} patches are kept and {seen} of them visible, so none is hidden; "
                "raise model.mask_ratio or lower the share that the method drops"
            )
