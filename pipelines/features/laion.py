"""laion-clap's checkpoints under the names of transformers' ClapModel.

The numbers are the same; only names differ, and query, key and value lie in one tensor there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_DROPPED = re.compile(
    r"(audio|text)_transform\.|audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)"
    r"|.*(attn_mask|num_batches_tracked|position_ids|relative_position_index)$"
)
"""Not in ClapModel, or computed there: spectrogram and mel weights, other heads, index tables."""

_NAMES = (
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative", ".attention.self.relative"),
    (r"_projection\.0\.", "_projection.linear1."),
    (r"_projection\.2\.", "_projection.linear2."),
)


def from_laion(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict for ClapModel; one that has its names already comes back as it is."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if not any(name.startswith("audio_branch.") for name in plain):
        return dict(state)
    return dict(pair for name, tensor in plain.items() for pair in _renamed(name, tensor))


def _renamed(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    if _DROPPED.match(name):
        return
    if ".attn.qkv." in name:
        for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
            yield from _renamed(name.replace(".attn.qkv.", f".attention.self.{part}."), third)
        return
    for old, new in _NAMES:
        name = re.sub(old, new, name)
    yield name, tensor
