"""Scores of segmentation masks, in percent, as AVSBench defines them (Zhou et al., ECCV 2022)."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_jaccard_index,
    binary_precision_recall_curve,
)

BETA_SQUARED = 0.3
THRESHOLDS = 255


def segmentation(probability: Tensor, mask: Tensor, clip: Tensor) -> dict[str, float]:
    """Score masks of frames.

    Args:
        probability: Probabilities of the foreground, 0 to 1, [N, H, W].
        mask: 0 or 1, [N, H, W].
        clip: Number of each frame's clip [N].

    Returns:
        `miou`, the intersection over union at 0.5, mean over frames, where a frame without an
        object scores the share of its pixels that are predicted empty; `f_score`, with one
        threshold for all frames; `f_score_per_video`, with the best threshold of each video, as
        AVSBench's released test computes it, mean over videos with an object; `iou`, the
        intersection over union of all pixels together.
    """
    mask = mask.int()
    videos = [clip == number for number in torch.unique(clip)]
    own = [f_score(probability[rows], mask[rows]) for rows in videos if mask[rows].any()]
    return {
        "f_score_per_video": 100 * sum(own) / max(1, len(own)),
        "miou": 100 * float(torch.stack([_iou(p, m) for p, m in _pairs(probability, mask)]).mean()),
        "f_score": 100 * f_score(probability, mask),
        "iou": 100 * float(binary_jaccard_index(probability, mask)),
    }


def f_score(probability: Tensor, mask: Tensor) -> float:
    """Return the largest F (β² = 0.3) over 255 thresholds, mean over frames with an object.

    Args:
        probability: Probabilities [N, H, W].
        mask: 0 or 1, [N, H, W].

    Returns:
        F, 0 to 1; 0 if no frame has an object.
    """
    thresholds = torch.linspace(0, 1, THRESHOLDS + 1)[:-1]
    curves = []
    for p, m in _pairs(probability, mask):
        if m.any():
            found = binary_precision_recall_curve(p.flatten(), m.int().flatten(), thresholds)
            # The last point has no threshold. Precision is 0 / 0 if nothing is predicted.
            precision, recall = found[0][:-1].nan_to_num(), found[1][:-1]
            both = (1 + BETA_SQUARED) * precision * recall
            curves.append(both / (BETA_SQUARED * precision + recall).clamp_min(1e-20))
    return float(torch.stack(curves).mean(0).max()) if curves else 0.0


def _iou(probability: Tensor, mask: Tensor) -> Tensor:
    if not mask.any():
        return (probability <= 0.5).double().mean()
    found: Tensor = binary_jaccard_index(probability, mask)
    return found.double()


def _pairs(probability: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(probability, mask, strict=True))
