"""Weights and inputs of the released AVSA, made up by name, and what its code computes of them.

The numbers in `released_numbers.json` are the released code's (commit 817a8cf), with torch 2.11 on
a CPU, of the same weights and inputs.
"""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

NUMBERS: dict[str, Any] = json.loads(
    Path(__file__).with_name("released_numbers.json").read_text(encoding="utf-8")
)


def made_up(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return a tensor that depends on its released name alone."""
    random = np.random.default_rng(crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        return torch.from_numpy(random.uniform(0.5, 1.5, shape)).float()
    values = random.standard_normal(shape)
    if len(shape) == 1:
        one = name.endswith(".weight")  # of norms
        return torch.from_numpy(0.1 * values + one).float()
    return torch.from_numpy(values * np.sqrt(2 / np.prod(shape[1:]))).float()


def released_state(part: str) -> dict[str, Tensor]:
    """Return a state dict by the released names: "model", "avsa", "alone" or "avc" (losses)."""
    return {name: made_up(name, tuple(shape)) for name, shape in NUMBERS["shapes"][part].items()}


def checkpoint(path: Path, criterion: str | None = "avsa") -> Path:
    """Write a checkpoint as the released trainer does, with the keys of DataParallel."""
    content: dict[str, Any] = {
        "epoch": 50,
        "model": {f"module.{name}": x for name, x in released_state("model").items()},
        "optimizer": {"state": {}, "param_groups": []},
    }
    if criterion:
        content["train_criterion"] = released_state(criterion)
    torch.save(content, path)
    return path


def views() -> tuple[Tensor, Tensor]:
    """Return pictures [2, 2, 3, 8, 112, 112] and spectra [2, 2, 4, 100, 128]."""
    return made_up("pictures.x", (2, 2, 3, 8, 112, 112)) * 40, made_up(
        "spectra.x", (2, 2, 4, 100, 128)
    ) * 40


def embeddings() -> tuple[Tensor, Tensor]:
    """Return embeddings of video and audio [6, 4, 512]."""
    return made_up("video.x", (6, 4, 512)) * 10, made_up("audio.x", (6, 4, 512)) * 10
