"""Settings of HAN's and VALOR's objective: the section `objective` of their configs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ValorSettings(BaseModel):
    """What a step sees and minimises.

    Attributes:
        audio: Derived feature of the sound.
        visual: Derived feature of the frames.
        motion: Derived feature of the frames in motion.
        audio_labels: Derived feature with the pseudo labels of what is heard in each second.
        visual_labels: That of what is seen.
        loss: The clip's labels and the pseudo labels ("valor"), or the clip's labels for the clip
            and for each of its modalities ("han"), which needs no pseudo labels.
        visual_smoothing: With "han", label smoothing of the visual modality, towards 0.5.
        threshold: Probability from which a class is in a clip, and in a second of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: str = "vggish"
    visual: str = "resnet152"
    motion: str = "r2plus1d18"
    audio_labels: str = "valor-clap-labels"
    visual_labels: str = "valor-clip-labels"
    loss: Literal["valor", "han"] = "valor"
    visual_smoothing: float = Field(default=0.1, ge=0, lt=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)

    @property
    def inputs(self) -> tuple[str, str, str]:
        """Names of the features that the network sees."""
        return (self.audio, self.visual, self.motion)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the features that hold pseudo labels: audio, then visual; none for "han"."""
        return (self.audio_labels, self.visual_labels) if self.loss == "valor" else ()
