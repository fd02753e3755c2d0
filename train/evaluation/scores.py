"""Scores of downstream tasks, in percent but for AUC and d′; by torchmetrics and scikit-learn."""

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_jaccard_index,
    binary_precision_recall_curve,
    multiclass_accuracy,
)

BETA_SQUARED = 0.3
THRESHOLDS = 255


def classification(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """scores [N, C] (logits or probabilities), targets [N, C] of 0 and 1.

    accuracy and top5: by the highest scores, where every clip has one label. map: mean over
    classes of the average precision; auc: of the area under the ROC curve; d_prime = √2 Φ⁻¹(auc)
    (UAVM, spec 5.1). Classes without a positive, or without a negative, are left out, and
    `classes_scored` says how many were not.
    """
    out: dict[str, float] = {}
    classes = targets.shape[1]
    if bool((targets.sum(1) == 1).all()):
        label = targets.argmax(1)
        for name, k in (("accuracy", 1), ("top5", min(5, classes))):
            found = multiclass_accuracy(scores, label, classes, average="micro", top_k=k)
            out[name] = 100 * float(found)
    positives = targets.sum(0)
    scored = ((positives > 0) & (positives < len(targets))).nonzero().flatten().tolist()
    out["classes_scored"] = float(len(scored))
    if scored:
        truth, guess = targets[:, scored].numpy(), scores[:, scored].double().numpy()
        out["map"] = 100 * float(average_precision_score(truth, guess, average="macro"))
        out["auc"] = float(roc_auc_score(truth, guess, average="macro"))
        out["d_prime"] = d_prime(out["auc"])
    return out


def d_prime(auc: float) -> float:
    """√2 Φ⁻¹(AUC): how far apart two normal distributions of that AUC are."""
    near = min(max(auc, 1e-12), 1 - 1e-12)
    return 2**0.5 * float(torch.special.ndtri(torch.tensor(near, dtype=torch.float64)))


def event_accuracy(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """Share of seconds whose highest class is among the second's labels (AVE).

    scores, targets [N, seconds, C]. Most seconds have one label; 45 clips have two somewhere.
    """
    highest = scores.argmax(-1, keepdim=True)
    return {"accuracy": 100 * float(targets.gather(-1, highest).float().mean())}


def segmentation(probability: Tensor, mask: Tensor) -> dict[str, float]:
    """Of frames [N, H, W]: probability in [0, 1], mask of 0 and 1.

    miou: at 0.5, mean over frames; of a frame without any object, the share of its pixels that
    are left empty. f_score: β² = 0.3 at the best of 255 thresholds, mean over the frames that have
    an object (both as AVSBench defines them). iou: of all pixels together.
    """
    mask = mask.int()
    return {
        "miou": 100 * float(torch.stack([_iou(p, m) for p, m in _pairs(probability, mask)]).mean()),
        "f_score": 100 * f_score(probability, mask),
        "iou": 100 * float(binary_jaccard_index(probability, mask)),
    }


def f_score(probability: Tensor, mask: Tensor) -> float:
    """The largest over thresholds of the mean F over frames with an object; 0 without any."""
    thresholds = torch.linspace(0, 1, THRESHOLDS + 1)[:-1]
    curves = []
    for p, m in _pairs(probability, mask):
        if m.any():
            found = binary_precision_recall_curve(p.flatten(), m.int().flatten(), thresholds)
            # The last point has no threshold; without any guess precision is 0 / 0.
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
