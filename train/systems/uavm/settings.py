"""Settings of UAVM's objective: the section `objective` of its configs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = Literal["ce", "bce"]


class UAVMSettings(BaseModel):
    """What a step of UAVM sees and minimises.

    Attributes:
        audio: Derived feature of the sound.
        video: Derived feature of the frames.
        loss: Cross-entropy ("ce", clips of one class), or the mean of the classes' binary
            cross-entropies ("bce", AudioSet).
        audio_share: Probability that a step trains audio (the paper's lambda of the modality).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: str = "convnext-audio"
    video: str = "convnext-visual"
    loss: Loss = "ce"
    audio_share: float = Field(default=0.5, ge=0, le=1)
