"""Inputs, drawn from a seed, of the numbers that AVSA's released segmentation code gave.

`NUMBERS` were computed once with pedro-morgado/AVSpatialAlignment at 817a8cf: its head
(`utils.segm_eval_utils.FPNHead`), its metrics and the nearest sampling of `utils.nfov`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NUMBERS = json.loads(Path(__file__).with_suffix(".json").read_text())

LEVELS = {"time_pool": "times", "lat_fpn_": "laterals", "out_fpn_": "outputs"}
CONTEXT, CLASSES = 1536, 32


def renamed(name: str) -> str:
    """Return our name of a tensor of the released head, whose levels count from 2."""
    module, _, rest = name.partition(".")
    for theirs, ours in {**LEVELS, "upsampling": "branches"}.items():
        if module.startswith(theirs):
            return f"{ours}.{int(module.removeprefix(theirs)) - 2}.{rest}"
    return name


def released_name(name: str) -> str:
    """Return the released name of one of our tensors."""
    module, _, rest = name.partition(".")
    for theirs, ours in {**LEVELS, "upsampling": "branches"}.items():
        if module == ours:
            level, _, last = rest.partition(".")
            return f"{theirs}{int(level) + 2}.{last}"
    return name


def head_inputs(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
    """Return weights for a head, outputs of stages and a context, in the order of drawing."""
    draw = np.random.RandomState(3)
    weights = {}
    for name in sorted(map(released_name, state)):
        shape = tuple(state[renamed(name)].shape)
        weights[renamed(name)] = _floats(draw.standard_normal(shape) * 0.05)
    sizes = ((64, 8, 16), (128, 4, 8), (256, 2, 4), (512, 1, 2))
    maps = [_floats(draw.standard_normal((2, c, t, s, s))) for c, t, s in sizes]
    return weights, maps, _floats(draw.standard_normal((2, CONTEXT)))


def scored_batches() -> list[tuple[Tensor, Tensor]]:
    """Return logits [P, 32, 4, 4] and labels [P, 8, 8] of two batches of 6 and 4 pictures."""
    draw = np.random.RandomState(11)
    batches = []
    for clips in (3, 2):
        logits = _floats(draw.standard_normal((clips * 2, CLASSES, 4, 4)))
        labels = torch.from_numpy(draw.randint(0, 6, (clips * 2, 8, 8)))
        labels[torch.from_numpy(draw.rand(clips * 2, 8, 8) < 0.3)] = 255
        logits[:, 6:] -= 3
        batches.append((logits, labels))
    batches[0][1][1] = 255  # a picture without a label
    return batches


def label_map() -> np.ndarray:
    """Return a panorama of labels, uint8 [24, 48]."""
    return np.random.RandomState(5).randint(0, 256, (24, 48)).astype(np.uint8)


def _floats(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
