"""The shape of a parsing network: what decides its parameters and what it sees."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SEGMENTS = 10
"""Seconds of a clip."""
GROUP = 8
"""Rows of a visual feature that are a second, if it has more than one a second."""
MAP_TOKENS = 64
"""Rows of CLAP's feature map: 2 bands of 32 times."""


class ValorConfig(BaseModel):
    """HAN and the three VALOR models; the defaults are VALOR's.

    Attributes:
        classes: Number of classes.
        audio_width: Width of a row of the audio feature: 128 (VGGish) or 768 (CLAP's map).
        visual_width: Width of a row of the visual feature: 2048 (ResNet-152) or 768 (CLIP).
        motion_width: Width of a row of the spatio-temporal visual feature.
        width: Width of a token.
        heads: Attention heads.
        feedforward: Hidden width of a layer's feed-forward network.
        layers: Layers, each of which both modalities pass.
        order: Audio first, then visual with the new audio, and each layer on from there
            ("sequential", VALOR); or every layer from the same inputs ("parallel", HAN).
        dropout: Of attention weights and of what a layer adds.
        unused: Whether the model has the parameters that the released one has and no step uses:
            "valor"'s two norms, or "han"'s three encoders and four norms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: int = Field(default=25, ge=1)
    audio_width: int = Field(default=128, ge=1)
    visual_width: int = Field(default=2048, ge=1)
    motion_width: int = Field(default=512, ge=1)
    width: int = Field(default=512, ge=1)
    heads: int = Field(default=8, ge=1)
    feedforward: int = Field(default=1024, ge=1)
    layers: int = Field(default=1, ge=1)
    order: Literal["sequential", "parallel"] = "sequential"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    unused: Literal["none", "valor", "han"] = "none"

    @model_validator(mode="after")
    def _divides(self) -> "ValorConfig":
        if self.width % self.heads:
            raise ValueError(
                f"cannot divide width by heads: {self.width} / {self.heads} is not a whole number"
            )
        return self
