"""The shape of AVSA's networks: what decides their parameters and what they see."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CHANNELS = 4
"""Channels of ambisonic sound: W, Y, Z, X."""

Predictors = Literal["off", "context", "alone"]


class AVSAConfig(BaseModel):
    """The encoders of pictures and sound, and what predicts one from the other.

    The defaults are those of the released models of YT-360.

    Attributes:
        stem: Channels of the first convolution of each encoder.
        widths: Channels of the four stages of each encoder; the last is the width of an embedding.
        blocks: Blocks of each stage of the video encoder.
        predictors: What predicts a view's sound from its pictures and back: nothing, which is
            audio-visual correspondence of clips ("off"); a transformer over all views of a clip
            ("context"); or layers that see one view ("alone").
        depth: Layers of each predictor.
        expansion: Hidden width of a layer's feed-forward network, in widths of an embedding.
        dropout: Of what a predictor's layer adds.
        projection: Width of what is compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stem: int = Field(default=64, ge=1)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    blocks: int = Field(default=2, ge=1)
    predictors: Predictors = "context"
    depth: int = Field(default=2, ge=1)
    expansion: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    projection: int = Field(default=128, ge=1)

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return self.widths[-1]


class ActionConfig(AVSAConfig):
    """The video encoder with a classifier; of the rest it has nothing.

    Attributes:
        classes: Number of classes.
    """

    classes: int = Field(default=101, ge=2)
