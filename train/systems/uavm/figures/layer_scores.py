"""Figures 4 and 5: retrieval of video by audio at each layer, and attention to the two."""

from collections.abc import Sequence

import torch
from torch import Tensor

from avstore.train.evaluation.retrieval import Ties, retrieval

SCORES = ("a2v_r5", "a2v_r10")


def recall_by_layer(
    audio: Sequence[Tensor], video: Sequence[Tensor], ties: Ties = "worst"
) -> dict[str, list[float]]:
    """Return R@5 and R@10 of audio→video by cosine similarity, in percent.

    Args:
        audio: Embeddings of each layer [N, D], as `Trace.embeddings` gives them.
        video: Embeddings of the same layers and clips.
        ties: How equal similarities rank; see `evaluation.retrieval.ranks`. "published" counts as
            the released code does.

    Returns:
        One value a layer, by score (`a2v_r5`, `a2v_r10`).
    """
    found = [
        retrieval(a.float(), v.float(), {}, ties)["all"] for a, v in zip(audio, video, strict=True)
    ]
    return {name: [scores[name] for scores in found] for name in SCORES}


def attention_difference(audio: Tensor, video: Tensor) -> Tensor:
    """Return the mean absolute difference of each clip's attention maps [N].

    Its mean over clips is the paper's audio-visual attention difference; a value a clip lets you
    go through a data set by batches.

    Args:
        audio: Attention maps of a block [N, heads, rows, rows].
        video: Those of the same clips and block.

    Raises:
        ValueError: The shapes differ.
    """
    if audio.shape != video.shape or audio.ndim != 4:
        raise ValueError(
            f"audio {tuple(audio.shape)} and video {tuple(video.shape)} are not attention maps "
            "[N, heads, rows, rows] of the same clips"
        )
    return (audio - video).abs().mean((1, 2, 3))


def attention_profile(maps: Tensor) -> Tensor:
    """Return how much the rows of a clip are attended to [..., heads, rows], as the paper draws it.

    Each query's attention is divided by its maximum, then summed over the queries.

    Args:
        maps: Attention maps [..., heads, queries, rows].
    """
    return torch.sum(maps / maps.amax(-1, keepdim=True), dim=-2)
