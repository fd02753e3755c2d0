"""Scores of semantic segmentation: pixel accuracy, and IoU of the data set and of pictures."""

from collections.abc import Iterator

import torch
from torch import Tensor

from avstore.manifests.label_maps import IGNORED


def class_areas(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count pixels by picture and class; pixels without a label count nowhere.

    Args:
        predicted: Classes [P, H, W], 0 to classes - 1.
        labels: Labels [P, H, W]: classes, or 255 without a label.
        classes: Number of classes.

    Returns:
        int64 [P, 3, classes]: pixels of both, of the prediction, and of the label.
    """
    known = labels != IGNORED
    picture = torch.arange(len(labels), device=labels.device)[:, None, None].expand_as(labels)
    pair = (picture * classes + labels) * classes + predicted
    counts = torch.bincount(pair[known], minlength=len(labels) * classes * classes)
    table = counts.view(-1, classes, classes)  # [P, label, predicted]
    return torch.stack([table.diagonal(dim1=1, dim2=2), table.sum(1), table.sum(2)], 1)


def semantic_scores(areas: Tensor, batch: int) -> dict[str, float]:
    """Return scores in percent; NaN without a labelled pixel.

    `miou` is the mean over classes of the IoU over all pixels, and `pixel_accuracy` the share of
    right pixels. `picture_miou` and `batch_accuracy` are what AVSA's released code prints: the mean
    IoU of all pairs of a picture and a class that it has, and the accuracy, of a batch; averaged
    over batches by their pictures. Batches without a labelled pixel are left out.

    Args:
        areas: From `class_areas` [P, 3, classes].
        batch: Pictures of a batch.
    """
    total = areas.sum(0)
    parts = list(_batch_scores(areas, batch))
    weights = torch.tensor([pictures for pictures, _, _ in parts], dtype=torch.float64)
    values = torch.tensor([own for _, *own in parts], dtype=torch.float64).view(-1, 2)
    means = (values * weights[:, None]).sum(0) / weights.sum()
    return {
        "miou": _percent(_ious(total[None])),
        "pixel_accuracy": _accuracy(total[None]),
        "picture_miou": float(means[0]),
        "batch_accuracy": float(means[1]),
    }


def _batch_scores(areas: Tensor, batch: int) -> Iterator[tuple[int, float, float]]:
    """Yield pictures, mean IoU of their classes, and accuracy of each batch with a label."""
    for own in torch.split(areas, batch):
        if own[:, 2].sum():
            yield len(own), _percent(_ious(own)), _accuracy(own)


def _ious(areas: Tensor) -> Tensor:
    """Return the IoU of each picture and class that either has."""
    both, predicted, labelled = areas.double().unbind(1)
    union = predicted + labelled - both
    return both[union > 0] / union[union > 0]


def _accuracy(areas: Tensor) -> float:
    return 100 * float(areas[:, 0].sum().double() / areas[:, 2].sum())


def _percent(values: Tensor) -> float:
    return 100 * float(values.mean())
