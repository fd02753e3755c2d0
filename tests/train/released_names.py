"""Names and shapes of the tensors of STELLA's released checkpoints, at any size."""

from avstore.train.systems.cavmae.model_config import ModelConfig

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, *shape: int) -> Shapes:
    """A layer's weight and bias, or a norm's."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def block(name: str, width: int, routes: tuple[str, ...] = ("",)) -> Shapes:
    """A transformer block with the norms of each route."""
    shapes = linear(f"{name}.attn.qkv", 3 * width, width)
    shapes |= linear(f"{name}.attn.proj", width, width)
    shapes |= linear(f"{name}.mlp.fc1", 4 * width, width)
    shapes |= linear(f"{name}.mlp.fc2", width, 4 * width)
    for route in routes:
        shapes |= linear(f"{name}.norm1{route}", width) | linear(f"{name}.norm2{route}", width)
    return shapes


def backbone(c: ModelConfig) -> Shapes:
    """The backbone's tensors, as its class lists them: 406 at full size."""
    shapes: Shapes = {}
    width, narrow = c.width, c.decoder_width
    for side, tokens, channels in (("a", c.audio_tokens, 1), ("v", c.video_tokens, 3)):
        shapes |= {
            f"{name}_{side}": (1, tokens, width) for name in ("pos_embed", "inter_pos_embed")
        }
        shapes |= {f"modality_{side}": (1, 1, width)}
        shapes |= {f"decoder_pos_embed_{side}": (1, tokens, narrow)}
        shapes |= {f"{name}_{side}": (1, 1, narrow) for name in ("mask_token", "decoder_modality")}
        shapes |= linear(f"patch_embed_{side}.proj", width, channels, 16, 16)
        shapes |= linear(f"norm_{side}", width)
        for number in range(c.depth):
            shapes |= block(f"blocks_{side}.{number}", width)
    for number in range(c.joint_depth):
        shapes |= block(f"blocks_u.{number}", width, ("", "_a", "_v"))
    for number in range(c.decoder_depth):
        shapes |= block(f"decoder_blocks.{number}", narrow)
    shapes |= linear("norm", width) | linear("decoder_norm", narrow)
    shapes |= linear("decoder_embed", narrow, width)
    shapes |= linear("mae_score_audio.decoder", 256, narrow)
    return shapes | linear("mae_score_video.decoder", 768, narrow)


def matching(width: int) -> Shapes:
    """The 14 tensors of the matching module."""
    shapes: Shapes = {f"to_{s}_{part}.weight": (width, width) for s in "av" for part in "qkv"}
    shapes |= linear("norm_a", width) | linear("norm_v", width)
    shapes |= linear("matching_score.pooler.dense", 2 * width, 2 * width)
    return shapes | linear("matching_score.fc", 1, 2 * width)


def checkpoint(c: ModelConfig) -> Shapes:
    """All tensors of a checkpoint that the released trainer of task-free runs saves."""
    shapes = {f"module.backbone.transformer.{name}": x for name, x in backbone(c).items()}
    return shapes | {f"module.avmatching_module.{name}": x for name, x in matching(c.width).items()}
