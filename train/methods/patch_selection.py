"""What methods share that select CAV-MAE's patches."""

from typing import Any, ClassVar

from avstore.train.errors import UserError
from avstore.train.methods.base import Options, ReplayMethod, Setup
from avstore.train.methods.derpp import DERppOptions
from avstore.train.objective import Objective
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.objective import CAVMAEObjective


class SelectionOptions(DERppOptions):
    """Settings of methods that select patches, under the names of the published settings.

    Attributes:
        core_video_ratio: Share of video patches to drop.
        core_audio_ratio: Share of audio patches to drop.
    """

    core_video_ratio: float = 0.5
    core_audio_ratio: float = 0.5


class SelectionMethod(ReplayMethod):
    """A method that trains on some of the patches of every row.

    Attributes:
        keep_v: Video patches to keep (κ_v).
        keep_a: Audio patches to keep (κ_a).
    """

    Options: ClassVar[type[Options]] = SelectionOptions
    objective: CAVMAEObjective

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(require_patches(objective, type(self).__name__), options, setup)
        config = self.objective.model.config
        self.keep_v = int(config.video_tokens * (1 - options.core_video_ratio))
        self.keep_a = int(config.audio_tokens * (1 - options.core_audio_ratio))
        require_hidden(config, self.keep_v, self.keep_a)


def require_patches(objective: Objective, method: str) -> CAVMAEObjective:
    """Return the system if it has patches to select.

    Raises:
        UserError: It is another system than CAV-MAE.
    """
    if not isinstance(objective, CAVMAEObjective):
        raise UserError(
            f"method {method} selects the patches of CAV-MAE, and the config's system has none; "
            "take a CAV-MAE config, or another method, such as er"
        )
    return objective


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
