"""CAV-MAE's released classes (YuanGongND/cav-mae at 68fe8c2): their tensors, and ours like them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.patches import Order, Patches

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Size:
    """The sizes that the released classes take."""

    width: int = 768
    decoder: int = 512
    decoder_depth: int = 8
    video: int = 196
    audio: int = 512


SMALL = Size(width=32, decoder=16, decoder_depth=2, video=16, audio=32)
CONFIG = ModelConfig(
    width=32, heads=2, depth=11, joint_depth=1, decoder_width=16, decoder_depth=2, decoder_heads=2,
    frames=1, image_size=64, fbank_frames=64, mask_ratio=0.75, contrast_weight=0.01,
    bidirectional=False, inter_pos=False, learned_pos=False, audio_pos="cavmae",
    linear_init="xavier", mask_tokens="one", negatives="own", decode="joint", attention="plain",
)  # fmt: skip


def encoder(size: Size) -> Shapes:
    """The tensors that both classes have."""
    d = size.width
    shapes: Shapes = {}
    for side, channels, tokens in (("a", 1, size.audio), ("v", 3, size.video)):
        shapes |= _linear(f"patch_embed_{side}.proj", d, channels, 16, 16)
        shapes |= {f"modality_{side}": (1, 1, d), f"pos_embed_{side}": (1, tokens, d)}
        shapes |= _norm(f"norm_{side}", d)
        for number in range(11):
            shapes |= _block(f"blocks_{side}.{number}", d)
    return shapes | _block("blocks_u.0", d) | _norm("norm", d)


def pretrained(size: Size) -> Shapes:
    """The tensors of `CAVMAE`."""
    d = size.decoder
    shapes = encoder(size) | {"mask_token": (1, 1, d)}
    for side, tokens in (("a", size.audio), ("v", size.video)):
        shapes |= {f"decoder_modality_{side}": (1, 1, d)}
        shapes |= {f"decoder_pos_embed_{side}": (1, tokens, d)}
    for number in range(size.decoder_depth):
        shapes |= _block(f"decoder_blocks.{number}", d)
    shapes |= _norm("decoder_norm", d) | _linear("decoder_embed", d, size.width)
    return shapes | _linear("decoder_pred_a", 256, d) | _linear("decoder_pred_v", 768, d)


def finetuned(size: Size, classes: int) -> Shapes:
    """The tensors of `CAVMAEFT`."""
    head = _norm("mlp_head.0", size.width) | _linear("mlp_head.1", classes, size.width)
    return encoder(size) | head


def _linear(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name: str, width: int) -> Shapes:
    return _linear(name, width)


def _block(name: str, d: int) -> Shapes:
    shapes = _linear(f"{name}.attn.qkv", 3 * d, d) | _linear(f"{name}.attn.proj", d, d)
    shapes |= _linear(f"{name}.mlp.fc1", 4 * d, d) | _linear(f"{name}.mlp.fc2", d, 4 * d)
    for route in ("", "_a", "_v"):
        shapes |= _norm(f"{name}.norm1{route}", d) | _norm(f"{name}.norm2{route}", d)
    return shapes


def drawn(shapes: Shapes, seed: int = 11) -> dict[str, Tensor]:
    """Values for tensors, drawn in the order of their names."""
    draw = torch.Generator().manual_seed(seed)
    state = {k: 0.1 * torch.randn(s, generator=draw) for k, s in sorted(shapes.items())}
    return {k: x + 1 if "norm" in k and k.endswith("weight") else x for k, x in state.items()}


def inputs(rows: int = 4, side: int = 64, frames: int = 64) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, S, S] and fbanks [B, frames, 128]."""
    draw = torch.Generator().manual_seed(12)
    video = torch.randn(rows, 3, side, side, generator=draw)
    return video, torch.randn(rows, frames, 128, generator=draw)


def released_order(patches: Patches, config: ModelConfig, seed: int) -> Order:
    """The order that the released masking draws after `torch.manual_seed(seed)`.

    It draws for the audio patches, frequency-major, and then for the video patches.
    """
    torch.manual_seed(seed)
    audio = torch.rand(len(patches), config.audio_tokens).argsort(1)
    video = torch.rand(len(patches), config.video_tokens).argsort(1)
    band, step = audio // config.audio_steps, audio % config.audio_steps
    return Order(video, step * config.audio_bands + band)
