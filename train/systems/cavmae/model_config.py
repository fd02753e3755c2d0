"""The shape of a model: everything that decides its parameters and its token counts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelConfig(BaseModel):
    """CAV-MAE in STELLA's form; the defaults are ViT-B with 4 frames (spec 3.1).

    Options that change no result beyond rounding: `attention`, `checkpointing`, `compile`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 768
    heads: int = 12
    depth: int = Field(default=10, ge=1, description="blocks of each modality's own encoder")
    joint_depth: int = Field(default=2, ge=1, description="blocks that both modalities share")
    mlp_ratio: float = 4.0
    decoder_width: int = 512
    decoder_depth: int = Field(default=8, ge=1)
    decoder_heads: int = 16
    patch: int = Field(default=16, description="side of a video patch, pixels")
    audio_patch: int = Field(default=16, description="side: fbank frames, mel bins")
    frames: int = 4
    image_size: int = 224
    fbank_frames: int = 1024
    mel_bins: int = 128
    mask_ratio: float = Field(default=0.8, ge=0.0, lt=1.0)
    norm_pix: bool = True
    contrast_weight: float = 0.1
    temperature: float = Field(default=0.05, gt=0.0)
    bidirectional: bool = Field(default=True, description="False: video to audio only")
    inter_pos: bool = Field(default=True, description="position tables before the joint blocks")
    learned_pos: bool = True
    audio_pos: Literal["time", "published"] = Field(
        default="time",
        description="published: tables start frequency-major, tokens are time-major (bug B11)",
    )
    decode: Literal["separate", "joint"] = "separate"
    norm_eps: float = 1e-5
    attention: Literal["sdpa", "plain"] = "sdpa"
    checkpointing: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _divides(self) -> "ModelConfig":
        for name, whole, part in (
            ("width by heads", self.width, self.heads),
            ("decoder_width by decoder_heads", self.decoder_width, self.decoder_heads),
            ("image_size by patch", self.image_size, self.patch),
            ("fbank_frames by audio_patch", self.fbank_frames, self.audio_patch),
            ("mel_bins by audio_patch", self.mel_bins, self.audio_patch),
            ("width by 4 (two-dimensional position tables)", self.width, 4),
            ("decoder_width by 4", self.decoder_width, 4),
        ):
            if whole % part:
                raise ValueError(f"cannot divide {name}: {whole} / {part}")
        return self

    @property
    def video_grid(self) -> int:
        """Patches along a frame's side."""
        return self.image_size // self.patch

    @property
    def video_tokens(self) -> int:
        """Frame-major, then row, then column."""
        return self.frames * self.video_grid**2

    @property
    def audio_bands(self) -> int:
        """Patches along frequency."""
        return self.mel_bins // self.audio_patch

    @property
    def audio_steps(self) -> int:
        """Patches along time."""
        return self.fbank_frames // self.audio_patch

    @property
    def audio_tokens(self) -> int:
        """Time-major: index = step * bands + band."""
        return self.audio_steps * self.audio_bands

    @property
    def video_visible(self) -> int:
        """Video tokens that the encoder sees in training, also of a selection of patches."""
        return max(1, int(self.video_tokens * (1 - self.mask_ratio)))

    @property
    def audio_visible(self) -> int:
        """Audio tokens that the encoder sees in training."""
        return max(1, int(self.audio_tokens * (1 - self.mask_ratio)))
