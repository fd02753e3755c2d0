"""The interface of a system that classifies, for methods that need logits."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import nan

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.clip_scores import ClipScores
from avstore.train.data import Batch, SampleList
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import classification_by_view
from avstore.train.objective import Objective, Output, Scores, eval_mode, rows_of
from avstore.train.systems.uavm.settings import Loss
from avstore.train.task_matrix import Measure

LOGITS = "logits"
TRUE_CLASSES = "probability of its classes"
"""What clips are scored by, for people."""

Views = dict[str, Tensor]


class Classifier(Objective):
    """A system with classes: its outputs have the embeddings "logits" [B, C].

    Labels are multi-hot [B, C]. A view is what a clip is classified by: "audio", "video" or "both".
    """

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes C."""

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """What a step minimises: cross-entropy, or the classes' binary cross-entropies."""

    @abstractmethod
    def embed(self, batch: Batch) -> Views:
        """Return what the classifier sees of a batch, [B, D] by view."""

    @abstractmethod
    def classify(self, batch: Batch) -> Views:
        """Return the scores of the classes, [B, C] by view."""

    def check(self, samples: SampleList) -> None:
        """Check that the labels are classes of the model, and one a clip with loss "ce"."""
        labels = samples.numbers("label_ids")
        if len(labels) and labels.max() >= self.classes:
            raise UserError(
                f"the clips have labels up to {labels.max()} and the model {self.classes} classes; "
                f"set model.classes={samples.classes}"
            )
        several = int((np.diff(samples.list_starts("label_ids")) > 1).sum())
        if several and self.loss == "ce":
            raise UserError(
                f"{several} of {len(samples)} clips have several labels, and objective.loss = ce "
                "is for one; set objective.loss=bce"
            )

    def certainty(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return each row's probability of its true class, of mixed labels the largest."""
        probabilities = self._probability(output.embeddings[LOGITS])
        true = targets_of(batch).argmax(1, keepdim=True)
        return {LOGITS: probabilities.gather(1, true)[:, 0]}

    def class_measure(self, views: Mapping[str, str], shown: str) -> Measure:
        """Return what a task matrix shows: accuracy, or with "bce" mean average precision.

        Args:
            views: What clips are classified by, with a name for people.
            shown: The view that the matrix shows.
        """
        one = self.loss == "ce"
        metric, name = ("accuracy", "accuracy") if one else ("map", "mean average precision")
        return Measure(
            subject="Classification",
            name=name,
            definition=f"{name} by {views[shown]}",
            shown=(f"{shown}_{metric}",),
            summarised={f"{view}_{metric}": f"{name} by {word}" for view, word in views.items()},
            chance=100 / self.classes if one else None,
        )

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return `audio_accuracy`, `both_map` and so on, of each group and of "all".

        A group's clips are classified among all classes, not among those of the group alone. Means
        over classes leave out the classes that no clip of a group has, or every clip; `map`, `auc`
        and `d_prime` are nan if that leaves none.
        """
        found: dict[str, list[Tensor]] = {}
        targets: list[Tensor] = []
        clip_ids: list[str] = []
        with eval_mode(self):
            for batch in batches:
                for view, scores in self.classify(batch).items():
                    found.setdefault(view, []).append(scores.float().cpu())
                targets.append(targets_of(batch).cpu())
                clip_ids += batch.clip_ids
        views = {view: torch.cat(parts) for view, parts in found.items()}
        self.clip_scores = self._clip_scores(clip_ids, views, torch.cat(targets))
        return group_scores(views, torch.cat(targets), clip_ids, groups)

    def _clip_scores(self, clip_ids: Sequence[str], views: Views, targets: Tensor) -> ClipScores:
        """Return the mean probability of each clip's true classes, over all views."""
        mean = torch.stack([self._probability(scores) for scores in views.values()]).mean(0)
        true = targets > 0
        own = (mean * true).sum(1) / true.sum(1).clamp_min(1)
        values = dict(zip(clip_ids, (100 * own).tolist(), strict=True))
        return ClipScores(TRUE_CLASSES, values)

    def _probability(self, scores: Tensor) -> Tensor:
        """Return the probabilities of scores of the classes [B, C]."""
        return scores.float().softmax(1) if self.loss == "ce" else scores.float().sigmoid()


def group_scores(
    views: Views, targets: Tensor, clip_ids: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Scores:
    """Return the scores of each group and of "all", which all have the same metrics.

    Args:
        views: Scores of the classes [N, C] by view.
        targets: 0 or 1, [N, C].
        clip_ids: Clip id of each row.
        groups: Clip ids by the name of a group.
    """
    found = {
        name: classification_by_view({view: x[own] for view, x in views.items()}, targets[own])
        for name, own in rows_of(clip_ids, groups).items()
    }
    metrics = dict.fromkeys(metric for scores in found.values() for metric in scores)
    return {name: {**dict.fromkeys(metrics, nan), **own} for name, own in found.items()}


def targets_of(batch: Batch) -> Tensor:
    """Return the labels of a batch [B, C].

    Raises:
        UserError: They are no multi-hot labels.
    """
    if not isinstance(batch.labels, Tensor) or batch.labels.dim() != 2:
        raise UserError("a classifier needs labels='multi_hot' in the BatchSpec of its system")
    return batch.labels


def require_classifier(objective: Objective, method: str) -> Classifier:
    """Return the system if it has logits.

    Raises:
        UserError: It does not classify.
    """
    if not isinstance(objective, Classifier):
        raise UserError(
            f"method {method} needs the logits of a system that classifies, and "
            f"{type(objective).__name__} has none; take the config of one that does, such as UAVM, "
            "or another method, such as er"
        )
    return objective


def row_losses(logits: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each row [B]; its mean is the released code's loss.

    Args:
        logits: [B, classes].
        targets: Smoothed and mixed labels [B, classes]. They need not sum to 1: as published, a
            smoothed row without mixup sums to 1 - smoothing / classes.
        loss: Cross-entropy ("ce", VGGSound), or the mean of the classes' binary cross-entropies
            ("bce", AudioSet).
    """
    if loss == "ce":
        return F.cross_entropy(logits.float(), targets, reduction="none")
    each = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return each.mean(1)
