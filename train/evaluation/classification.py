"""Scores of classification, in percent except AUC and d′."""

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy


def classification(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """Score a classification.

    Classes without a positive or without a negative clip are left out of the means over classes.

    Args:
        scores: Logits or probabilities [N, C].
        targets: 0 or 1, [N, C].

    Returns:
        `accuracy` and `top5` if every clip has one label; `map`, the mean average precision over
        classes; `auc`, the mean area under the ROC curve; `d_prime` of it, as in UAVM (Gong et al.,
        IEEE SPL 2022); `classes_scored`, the number of classes in those means.
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


def classification_by_modality(
    audio: Tensor, video: Tensor, targets: Tensor, both: Tensor | None = None
) -> dict[str, float]:
    """Score a classification by audio, by video and by both, as UAVM reports it.

    Args:
        audio: Logits by audio alone [N, C].
        video: Logits by video alone [N, C].
        targets: 0 or 1, [N, C].
        both: Logits by both [N, C]; None for the mean of the two, as in UAVM.

    Returns:
        The scores of `classification`, named `audio_accuracy`, `video_map`, `both_auc` and so on.
    """
    scores = {"audio": audio, "video": video, "both": (audio + video) / 2 if both is None else both}
    return {
        f"{modality}_{name}": value
        for modality, own in scores.items()
        for name, value in classification(own, targets).items()
    }


def d_prime(auc: float) -> float:
    """Return d′ = √2 Φ⁻¹(AUC), the distance of two normal distributions with that AUC."""
    clipped = min(max(auc, 1e-12), 1 - 1e-12)
    return 2**0.5 * float(torch.special.ndtri(torch.tensor(clipped, dtype=torch.float64)))
