"""Scores of classification, in percent except AUC and d′."""

from collections.abc import Mapping

import torch
from torch import Tensor

BOTH = "both"


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
    # Slow to import, and large: only the process that scores needs them.
    from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415
    from torchmetrics.functional.classification import multiclass_accuracy  # noqa: PLC0415

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


def classification_by_view(views: Mapping[str, Tensor], targets: Tensor) -> dict[str, float]:
    """Score a classification by each of its views, such as audio, video and both (UAVM).

    Args:
        views: Logits or probabilities [N, C] by view.
        targets: 0 or 1, [N, C].

    Returns:
        The scores of `classification`, named `audio_accuracy`, `video_map`, `both_auc` and so on.
    """
    return {
        f"{view}_{name}": value
        for view, scores in views.items()
        for name, value in classification(scores, targets).items()
    }


def with_both(views: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return scores [N, C] by view, with their mean as "both" if there are several, as in UAVM."""
    return {**views, BOTH: torch.stack([*views.values()]).mean(0)} if len(views) > 1 else {**views}


def d_prime(auc: float) -> float:
    """Return d′ = √2 Φ⁻¹(AUC), the distance of two normal distributions with that AUC."""
    clipped = min(max(auc, 1e-12), 1 - 1e-12)
    return 2**0.5 * float(torch.special.ndtri(torch.tensor(clipped, dtype=torch.float64)))
