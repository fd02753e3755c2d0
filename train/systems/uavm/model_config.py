"""The shape of a UAVM model: what decides its parameters and what it sees."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Modality = Literal["audio", "video"]
MODALITIES: tuple[Modality, Modality] = ("audio", "video")


class UAVMConfig(BaseModel):
    """UAVM and its baselines; the defaults are the paper's UAVM for VGGSound.

    The paper's modality-independent model is `unified` with `own_depth = 6` and `shared_depth = 0`.
    `independent` is the baseline of its width sweep, which also has the second input norm and
    position table of a narrower upper stage.

    Attributes:
        kind: The upper stage: one for both modalities, which come one at a time ("unified"); one
            for each modality ("independent"); or one over the rows of both together
            ("cross_attention").
        classes: Number of classes.
        input_width: Width of a stored feature.
        width: Width of a token in the modalities' own blocks.
        shared_width: Width of a token in the upper stage (the paper's S); None for `width`.
        heads: Attention heads of every block.
        own_depth: Blocks of each modality's own stage; 0 replaces the stage by a projection.
        shared_depth: Blocks of the upper stage; 0 gives each modality a classifier of its own.
        rows: Rows (time) of a feature, the same for audio and video.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unified", "independent", "cross_attention"] = "unified"
    classes: int = Field(default=309, ge=1)
    input_width: int = Field(default=1024, ge=1)
    width: int = Field(default=1024, ge=1)
    shared_width: int | None = Field(default=None, ge=1)
    heads: int = Field(default=4, ge=1)
    own_depth: int = Field(default=3, ge=0)
    shared_depth: int = Field(default=3, ge=0)
    rows: int = Field(default=30, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "UAVMConfig":
        for name, value in (("width", self.width), ("shared_width", self.upper_width)):
            if value % self.heads:
                raise ValueError(
                    f"cannot divide {name} by heads: {value} / {self.heads} is not a whole number"
                )
        if not self.depth:
            raise ValueError("own_depth and shared_depth are both 0; a model needs a block")
        if self.kind == "cross_attention" and not self.shared_depth:
            raise ValueError(
                "cross_attention with shared_depth = 0 has no classifier for both modalities; set "
                "shared_depth to 1 or more"
            )
        return self

    @property
    def depth(self) -> int:
        """Blocks that a row passes."""
        return self.own_depth + self.shared_depth

    @property
    def upper_width(self) -> int:
        """Width of a token in the upper stage."""
        return self.width if self.shared_width is None else self.shared_width
