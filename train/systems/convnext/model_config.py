"""The shape of a ConvNeXt on filter banks."""

from pydantic import BaseModel, ConfigDict, Field


class ConvNextConfig(BaseModel):
    """A ConvNeXt whose first layer has one channel; the defaults are UAVM's ConvNeXt-Base.

    Attributes:
        classes: Number of classes.
        widths: Channels of each stage.
        depths: Blocks of each stage.
        drop_path: Stochastic depth of the last block; earlier ones have less.
        fbank_frames: Length of a filter bank in training and in evaluation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: int = Field(default=309, ge=1)
    widths: tuple[int, ...] = (128, 256, 512, 1024)
    depths: tuple[int, ...] = (3, 3, 27, 3)
    drop_path: float = Field(default=0.5, ge=0, lt=1)
    fbank_frames: int = Field(default=1000, ge=32)
