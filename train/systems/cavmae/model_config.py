"""The shape of a model: what decides its parameters and token counts."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avstore.manifests.fingerprint import AddedWith

MaskMode = Literal["unstructured", "time", "frequency", "both"]


class ModelConfig(BaseModel):
    """CAV-MAE in STELLA's form; the defaults are the paper's ViT-B with 4 frames.

    `attention`, `checkpointing` and `compile` change results by rounding only.

    Attributes:
        width: Width of an encoder token.
        heads: Attention heads of the encoder.
        depth: Blocks of each modality's own encoder.
        joint_depth: Blocks that both modalities share.
        mlp_ratio: Hidden width of an MLP, as a multiple of the token's.
        decoder_width: Width of a decoder token.
        decoder_depth: Blocks of the decoder.
        decoder_heads: Attention heads of the decoder.
        patch: Side of a video patch, pixels.
        audio_patch: Side of an audio patch, fbank frames and mel bins.
        frames: Frames of a clip.
        image_size: Side of a frame, pixels.
        fbank_frames: Length of an fbank.
        mel_bins: Height of an fbank.
        mask_ratio: Share of patches to hide in training.
        norm_pix: Whether targets are normalised patch by patch.
        contrast_weight: Weight of the contrastive loss.
        temperature: Of the contrastive loss.
        bidirectional: Whether the contrastive loss goes both ways; else video→audio alone.
        inter_pos: Whether position tables are added before the joint blocks.
        learned_pos: Whether position tables are trained.
        audio_pos: Initial audio tables: rows as the tokens, frequency in the first half ("time");
            the same, time in the first half, as in CAV-MAE ("cavmae", by which also kernel and
            head from MAE have frequency first); or frequency-major rows as in STELLA's released
            code ("published", bug B11).
        mae_start: What MAE has no weights for (audio tables, modality tokens) when its file is
            loaded: this model's own initial values ("own"), or zeros, as the released code ends
            with ("published").
        linear_init: Initial weights of linear layers: normal with deviation 0.02 ("normal"), or
            Xavier uniform, as in CAV-MAE ("xavier").
        mask_tokens: Whether the decoder has "two" mask tokens, one a modality, or "one" for both.
        mask_mode: What hides audio patches in training: "unstructured" hides any; "time" and
            "frequency" hide whole steps and bands; "both" hides 0.7 of the share of each.
        negatives: Rows that the contrastive loss compares with: "all" of the part of a batch that
            is computed at once, over all processes; this process's "own", as in CAV-MAE; or all, of
            which those of another fourth have no gradient, as on STELLA's four GPUs ("published").
        decode: Whether the decoder sees the modalities apart or together.
        norm_eps: Epsilon of the layer norms.
        attention: Fused ("sdpa"), or with the softmax computed as a whole ("plain").
        checkpointing: Whether activations are computed again in the backward pass.
        compile: Whether blocks are compiled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 768
    heads: int = 12
    depth: int = Field(default=10, ge=1)
    joint_depth: int = Field(default=2, ge=1)
    mlp_ratio: float = 4.0
    decoder_width: int = 512
    decoder_depth: int = Field(default=8, ge=1)
    decoder_heads: int = 16
    patch: int = 16
    audio_patch: int = 16
    frames: int = 4
    image_size: int = 224
    fbank_frames: int = 1024
    mel_bins: int = 128
    mask_ratio: float = Field(default=0.8, ge=0.0, lt=1.0)
    norm_pix: bool = True
    contrast_weight: float = 0.1
    temperature: float = Field(default=0.05, gt=0.0)
    bidirectional: bool = True
    inter_pos: bool = True
    learned_pos: bool = True
    audio_pos: Literal["time", "cavmae", "published"] = "time"
    mae_start: Annotated[Literal["own", "published"], AddedWith("own")] = "own"
    linear_init: Annotated[Literal["normal", "xavier"], AddedWith("normal")] = "normal"
    mask_tokens: Annotated[Literal["two", "one"], AddedWith("two")] = "two"
    mask_mode: Annotated[MaskMode, AddedWith("unstructured")] = "unstructured"
    negatives: Annotated[Literal["all", "own", "published"], AddedWith("all")] = "all"
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
                raise ValueError(f"cannot divide {name}: {whole} / {part} is not a whole number")
        return self

    @property
    def video_grid(self) -> int:
        """Patches along a frame's side."""
        return self.image_size // self.patch

    @property
    def video_tokens(self) -> int:
        """Number of video tokens, which are frame-major, then row, then column."""
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
        """Number of audio tokens, which are time-major: index = step * bands + band."""
        return self.audio_steps * self.audio_bands

    @property
    def video_visible(self) -> int:
        """Video tokens that the encoder sees in training, also if a method selects patches."""
        return max(1, int(self.video_tokens * (1 - self.mask_ratio)))

    @property
    def audio_visible(self) -> int:
        """Audio tokens that the encoder sees in training."""
        return max(1, int(self.audio_tokens * (1 - self.mask_ratio)))
