"""Names and shapes of the tensors of the released classes, values of them, and inputs."""

import numpy as np
import torch
from torch import Tensor

from avstore.train.systems.valor.model_config import ValorConfig

Shapes = dict[str, tuple[int, ...]]

CONFIGS = {
    "valor": ValorConfig(unused="valor"),
    "valor_plus": ValorConfig(width=256, layers=4, unused="valor"),
    "valor_plus_plus": ValorConfig(
        width=256, layers=4, audio_width=768, visual_width=768, unused="valor"
    ),
    "han": ValorConfig(heads=1, feedforward=512, order="parallel", unused="han"),
}


def _linear(name: str, out: int, width: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _attention(name: str, width: int) -> Shapes:
    own = {f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,)}
    return own | _linear(f"{name}.out_proj", width, width)


def _layer(name: str, c: ValorConfig, *attentions: str) -> Shapes:
    shapes = _linear(f"{name}.linear1", c.feedforward, c.width)
    shapes |= _linear(f"{name}.linear2", c.width, c.feedforward)
    for each in attentions:
        shapes |= _attention(f"{name}.{each}", c.width)
    return shapes | _norm(f"{name}.norm1", c.width) | _norm(f"{name}.norm2", c.width)


def checkpoint(c: ValorConfig) -> Shapes:
    """The tensors of a released model of that shape."""
    shapes: Shapes = {}
    for name in ("fc_prob", "fc_frame_att", "fc_av_att"):
        shapes |= _linear(name, c.classes, c.width)
    for name, width in (("fc_a", c.audio_width), ("fc_v", c.visual_width), ("fc_st", 512)):
        shapes |= _linear(name, c.width, width)
    shapes |= _linear("fc_fusion", c.width, 2 * c.width)
    for number in range(c.layers):
        shapes |= _layer(f"hat_encoder.layers.{number}", c, "self_attn", "cm_attn")
    if c.unused == "valor":
        return (
            shapes
            | _norm("hat_encoder.final_norm_a", c.width)
            | _norm("hat_encoder.final_norm_v", c.width)
        )
    for name in ("audio", "visual", "cmt"):
        shapes |= _layer(f"{name}_encoder.layers.0", c, "self_attn")
    for name in (
        "cmt_encoder.norm1",
        "cmt_encoder.norm2",
        "hat_encoder.norm1",
        "hat_encoder.norm2",
    ):
        shapes |= _norm(name, c.width)
    return shapes


def weights(c: ValorConfig, seed: int = 7) -> dict[str, Tensor]:
    """Values of those tensors, drawn in the order of their names."""
    draw = np.random.RandomState(seed)
    state = {}
    for name, shape in sorted(checkpoint(c).items()):
        values = draw.standard_normal(shape) * (0.3 / shape[-1] ** 0.5)
        if "norm" in name and name.endswith("weight"):
            values += 1
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def features(c: ValorConfig, clips: int = 2, seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Audio, visual and motion features of some clips."""
    draw = np.random.RandomState(seed)
    shapes = (
        (64 if c.audio_width == 768 else 10, c.audio_width),
        (10 if c.visual_width == 768 else 80, c.visual_width),
        (10, 512),
    )
    found = [draw.standard_normal((clips, *shape)).astype(np.float32) for shape in shapes]
    audio, visual, motion = (torch.from_numpy(values) for values in found)
    return audio, visual, motion


def labels(clips: int = 2, seed: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Weak labels [N, 25], and pseudo labels of audio and of visual [N, 10, 25]."""
    draw = np.random.RandomState(seed)
    found = [(draw.uniform(size=s) < 0.2).astype(np.float32) for s in ((25,), (10, 25), (10, 25))
             for s in [(clips, *s)]]  # fmt: skip
    weak, audio, visual = (torch.from_numpy(values) for values in found)
    return weak, audio, visual


def cases(count: int = 1000, seed: int = 11) -> tuple[Tensor, Tensor]:
    """Predictions and truths of random videos, 0 or 1, [N, 10, 2, 25]: sparse, dense, in runs."""
    draw = np.random.RandomState(seed)
    found = []
    for _ in range(2):
        share = draw.choice([0.0, 0.01, 0.05, 0.3, 0.9], size=(count, 1, 1, 1))
        active = draw.uniform(size=(count, 10, 2, 25)) < share
        longer = np.concatenate([active[:, :1], active[:, :-1]], axis=1)
        found.append(torch.from_numpy(active | (longer & (draw.uniform(size=active.shape) < 0.7))))
    return found[0], found[1]
