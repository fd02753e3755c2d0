"""Weights of STELLA's matching module, renamed to ours."""

import torch
from torch import Tensor

PREFIX = "avmatching_module."
_LAYERS = {
    "norm_a": "norm_audio",
    "norm_v": "norm_video",
    "matching_score.pooler.dense": "hidden",
    "matching_score.fc": "score",
}


def matching_from_stella(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the matching module of a STELLA checkpoint in our names; empty if it has none.

    The query, key and value layers of a modality become one layer. A key of another layer keeps its
    name, so that loading names it.

    Args:
        state: The checkpoint's tensors, keys without `module.`.
    """
    theirs = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    ours = {}
    for letter, side in (("a", "audio"), ("v", "video")):
        parts = [f"to_{letter}_{part}.weight" for part in "qkv"]
        if theirs.keys() >= set(parts):
            ours[f"qkv_{side}.weight"] = torch.cat([theirs.pop(part) for part in parts])
    for key, value in theirs.items():
        layer, _, part = key.rpartition(".")
        ours[f"{_LAYERS.get(layer, layer)}.{part}"] = value
    return ours
