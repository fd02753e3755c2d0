"""The interface of a system that classifies, for methods that need logits."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import nan

import torch
from torch import Tensor

from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import classification_by_view
from avstore.train.objective import Objective, Scores, eval_mode

LOGITS = "logits"

Views = dict[str, Tensor]


class Classifier(Objective):
    """A system with classes: its outputs have the embeddings "logits" [B, C].

    Labels are multi-hot [B, C]. A view is what a clip is classified by: "audio", "video" or "both".
    """

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes C."""

    @abstractmethod
    def embed(self, batch: Batch) -> Views:
        """Return what the classifier sees of a batch, [B, D] by view."""

    @abstractmethod
    def classify(self, batch: Batch) -> Views:
        """Return the scores of the classes, [B, C] by view."""

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
        return group_scores(views, torch.cat(targets), clip_ids, groups)


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
    place = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    rows = {name: [place[clip_id] for clip_id in ids] for name, ids in groups.items()}
    found = {
        name: classification_by_view({view: x[own] for view, x in views.items()}, targets[own])
        for name, own in {**rows, "all": list(range(len(clip_ids)))}.items()
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
