"""Names and shapes of the tensors of UAVM's released classes, and values drawn from a seed."""

import numpy as np
import torch

from avstore.train.systems.uavm.model_config import UAVMConfig

Shapes = dict[str, tuple[int, ...]]
State = dict[str, torch.Tensor]


def _linear(name: str, out: int, width: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _norm_linear(name: str, out: int, width: int) -> Shapes:
    return _norm(f"{name}.0", width) | _linear(f"{name}.1", out, width)


def _stage(name: str, width: int, into: int, depth: int, rows: int, classes: int) -> Shapes:
    shapes: Shapes = {f"{name}.pos_embed": (1, rows, width)}
    for number in range(depth):
        block = f"{name}.blocks.{number}"
        shapes |= _norm(f"{block}.norm1", width) | _norm(f"{block}.norm2", width)
        shapes |= {f"{block}.attn.qkv.weight": (3 * width, width)}
        shapes |= _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= _linear(f"{block}.mlp.fc2", width, 4 * width)
    shapes |= _norm(f"{name}.in_layernorm", into) | _linear(f"{name}.in_proj", width, into)
    return shapes | _norm_linear(f"{name}.mlp_head", classes, width)


def checkpoint(c: UAVMConfig) -> Shapes:
    """The tensors of a released model of that shape, without DataParallel's prefix."""
    shapes: Shapes = {}
    for side in "av":
        if c.own_depth:
            own = (c.own_depth, c.rows, c.classes)
            shapes |= _stage(f"{side}_trans", c.width, c.input_width, *own)
        else:
            shapes |= _norm_linear(f"{side}_in_proj", c.width, c.input_width)
        if not c.shared_depth:
            shapes |= _norm_linear(f"{side}_mlp", c.classes, c.width)
    if c.shared_depth:
        rows = 2 * c.rows if c.kind == "cross_attention" else c.rows
        for name in ("a_s_trans", "v_s_trans") if c.kind == "independent" else ("s_trans",):
            upper = (c.shared_depth, rows, c.classes)
            shapes |= _stage(name, c.upper_width, c.width, *upper)
    return shapes


def weights(c: UAVMConfig, seed: int = 7) -> State:
    """Values of those tensors, drawn in the order of their names."""
    draw = np.random.RandomState(seed)
    state = {}
    for name, shape in sorted(checkpoint(c).items()):
        around = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        state[name] = torch.from_numpy(0.2 * draw.standard_normal(shape) + around).float()
    return state


def features(c: UAVMConfig, clips: int = 3, seed: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio and video features of some clips."""
    draw = np.random.RandomState(seed)
    shape = (clips, c.rows, c.input_width)
    audio, video = (torch.from_numpy(draw.standard_normal(shape)).float() for _ in range(2))
    return audio, video
