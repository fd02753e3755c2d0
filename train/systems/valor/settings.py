"""Settings of the objectives of HAN's and VALOR's network: the section `objective` of configs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Target = Literal["seconds", "clip", "teachers"]


class Inputs(BaseModel):
    """The features that the network sees, and those with pseudo labels.

    Attributes:
        audio: Derived feature of the sound.
        visual: Derived feature of the frames.
        motion: Derived feature of the frames in motion.
        audio_labels: Derived feature with the pseudo labels of what is heard in each second.
        visual_labels: That of what is seen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    audio: str = "vggish"
    visual: str = "resnet152"
    motion: str = "r2plus1d18"
    audio_labels: str = "valor-clap-labels"
    visual_labels: str = "valor-clip-labels"

    @property
    def inputs(self) -> tuple[str, str, str]:
        """Names of the features that the network sees."""
        return (self.audio, self.visual, self.motion)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the features with pseudo labels that training reads: audio, then visual."""
        return (self.audio_labels, self.visual_labels)


class ValorSettings(Inputs):
    """What a step on LLP sees and minimises.

    Attributes:
        loss: The clip's labels and the pseudo labels ("valor"), or the clip's labels for the clip
            and for each of its modalities ("han"), which needs no pseudo labels.
        visual_smoothing: With "han", label smoothing of the visual modality, towards 0.5.
        threshold: Probability from which a class is in a clip, and in a second of it.
    """

    loss: Literal["valor", "han"] = "valor"
    visual_smoothing: float = Field(default=0.1, ge=0, lt=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the features with pseudo labels: audio, then visual; none for "han"."""
        return super().teachers if self.loss == "valor" else ()


class EventSettings(Inputs):
    """What a step on AVE sees and minimises.

    Attributes:
        targets: What is learnt from, a loss each: the annotated "seconds", the labels of the
            "clip", and the pseudo labels of the "teachers".
    """

    targets: tuple[Target, ...] = Field(default=("seconds",), min_length=1)

    @property
    def teachers(self) -> tuple[str, ...]:
        """Names of the features with pseudo labels: audio, then visual; none without "teachers"."""
        return super().teachers if "teachers" in self.targets else ()
