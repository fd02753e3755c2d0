"""STELLA's selection of patches: importance, pruning and the draw."""

from avstore.train.systems.cavmae.selection.draw import sample_order, select_audio, select_video
from avstore.train.systems.cavmae.selection.importance import (
    Alignment,
    forgetting,
    localise,
    mean_query,
)

__all__ = [
    "Alignment",
    "forgetting",
    "localise",
    "mean_query",
    "sample_order",
    "select_audio",
    "select_video",
]
