"""iCaRL (Rebuffi et al., CVPR 2017): exemplars, distillation, and the nearest mean of exemplars."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from avstore.train import dist
from avstore.train.classifier import LOGITS, Classifier, Views, require_classifier, targets_of
from avstore.train.data import Batch
from avstore.train.data.batch import join
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import with_both
from avstore.train.methods.base import Method, Options, Setup, frozen_copy
from avstore.train.methods.pixels import Inputs, batch_of, inputs_of
from avstore.train.objective import Objective, Output, eval_mode
from avstore.train.systems.uavm.settings import Loss
from avstore.train.task_matrix import Measure

_UNSEEN = -5.0  # below every score: unit vectors are at most a squared distance of 4 apart
_CHUNK = 64  # exemplars that are embedded at once

Batches = Callable[[], Iterable[Batch]]


class ICaRLOptions(Options):
    """Settings of iCaRL.

    Attributes:
        memory_size: Exemplars of all classes together (K; 2,000 in the paper), shared equally by
            the classes seen so far.
    """

    memory_size: int = Field(default=2000, ge=1)


@dataclass(frozen=True)
class Exemplars:
    """Exemplars of the classes seen so far, those of a class in the order they were chosen.

    Attributes:
        classes: Class of each [N].
        inputs: Their inputs by name, [N, ...], without augmentation.
    """

    classes: Tensor
    inputs: Inputs

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def known(self) -> list[int]:
        """The classes that have exemplars."""
        return sorted(set(self.classes.tolist()))

    def rows(self, index: Tensor) -> "Exemplars":
        """Return some exemplars."""
        return Exemplars(self.classes[index], {name: x[index] for name, x in self.inputs.items()})

    def first(self, count: int) -> "Exemplars":
        """Return the first exemplars of each class."""
        found = [(self.classes == c).nonzero()[:count, 0] for c in self.known]
        return self.rows(torch.cat(found)) if found else self

    def joined(self, other: "Exemplars") -> "Exemplars":
        """Return these and others."""
        if not len(self) or not len(other):
            return self if len(self) else other
        inputs = {name: torch.cat([x, other.inputs[name]]) for name, x in self.inputs.items()}
        return Exemplars(torch.cat([self.classes, other.classes]), inputs)


NONE = Exemplars(torch.empty(0, dtype=torch.long), {})
EMPTY = Batch(video=None, audio=None, labels=[], clip_ids=[], step=0)


class ICaRL(Method):
    """Replays exemplars with distillation, and classifies by the nearest mean of exemplars.

    The exemplars are chosen by herding when their task has ended. They are rows in host memory, not
    of the plan's memory, because the choice depends on the model; all processes hold the same ones.
    As in the paper, the loss is the binary cross-entropy of each class, whatever the system's own:
    of classes of earlier tasks against the answer of the model before the task, of all others
    against the labels.

    Other than in the paper, every batch has one exemplar for each row of the task, drawn with
    replacement; exemplars are replayed without augmentation; a clip of several classes can be an
    exemplar of each; and a class that comes back in a later task keeps its exemplars. A system with
    several views is scored by the mean of each view's distances, as it is by the mean of its
    logits.

    Attributes:
        old: The model at the start of the task.
        exemplars: Rows of each class.
        means: Mean embedding of each class with exemplars [K, D], by view.
    """

    Options = ICaRLOptions
    objective: Classifier

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        own = require_classifier(objective, "iCaRL")
        super().__init__(own, options, setup)
        if options.memory_size < own.classes:
            raise UserError(
                f"options.memory_size {options.memory_size} is less than an exemplar for each of "
                f"{own.classes} classes; raise it"
            )
        self.old = frozen_copy(objective)
        self.exemplars, self.means = NONE, dict[str, Tensor]()

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss of the classes of this task, and of those of earlier tasks."""
        rows = join(batch, self.replayed(batch)) if len(self.exemplars) else batch
        draws = self.objective.draw(rows)
        logits = self.objective(rows, draws).embeddings[LOGITS].float()
        targets = targets_of(rows)
        earlier = torch.zeros(self.objective.classes, dtype=torch.bool, device=logits.device)
        earlier[self.exemplars.known] = True
        losses = {"objective": _binary(logits[:, ~earlier], targets[:, ~earlier])}
        if len(self.exemplars):
            with torch.no_grad():
                before = self.old(rows, draws).embeddings[LOGITS].float().sigmoid()
            losses["distillation"] = _binary(logits[:, earlier], before[:, earlier])
        return losses

    def replayed(self, batch: Batch) -> Batch:
        """Draw as many exemplars as a batch has rows."""
        drawn = dist.rand(len(batch), device=torch.device("cpu"))
        return self.as_batch((drawn * len(self.exemplars)).long(), batch)

    def as_batch(self, index: Tensor, like: Batch = EMPTY) -> Batch:
        """Return some exemplars as a batch on the system's device, of the kind of another one."""
        device = next(self.objective.parameters()).device
        inputs = self.exemplars.rows(index).inputs
        return batch_of({name: x.to(device) for name, x in inputs.items()}, like)

    def task_started(self, task: int) -> None:
        """Keep the model before the task."""
        self.old.load_state_dict(self.objective.state_dict())

    def task_ended(self, task: int, batches: Batches) -> None:
        """Choose exemplars of the task's classes, and compute all means of exemplars."""
        with torch.no_grad(), dist.alone(), eval_mode(self.objective):
            self.exemplars = self.with_task(batches)
            self.means = self.class_means()

    def with_task(self, batches: Batches) -> Exemplars:
        """Return the exemplars with those of a task's new classes, all cut to their share."""
        embedded, labels = [], []
        for batch in batches():
            views = self.objective.embed(batch).values()
            embedded.append(torch.cat([_unit(x) for x in views], 1).cpu())
            labels.append(targets_of(batch).cpu() > 0)
        x, owns = torch.cat(embedded), torch.cat(labels)
        new = sorted(set(owns.any(0).nonzero()[:, 0].tolist()) - set(self.exemplars.known))
        share = self.options.memory_size // (len(self.exemplars.known) + len(new))
        rows, classes = [], []
        for c in new:
            own = owns[:, c].nonzero()[:, 0]
            rows.append(own[herd(x[own], share)])
            classes += [c] * len(rows[-1])
        before = self.exemplars.first(share)
        if not new:
            return before
        return before.joined(Exemplars(torch.tensor(classes), _inputs_at(batches, torch.cat(rows))))

    def class_means(self) -> Views:
        """Return the normalised mean of each class's normalised embeddings [K, D], by view."""
        found: dict[str, list[Tensor]] = {}
        for start in range(0, len(self.exemplars), _CHUNK):
            part = torch.arange(start, min(start + _CHUNK, len(self.exemplars)))
            for view, x in self.objective.embed(self.as_batch(part)).items():
                found.setdefault(view, []).append(_unit(x).cpu())
        embeddings = {view: torch.cat(parts) for view, parts in found.items()}
        member = self.exemplars.classes == torch.tensor(self.exemplars.known)[:, None]
        return {view: _unit(member.float() @ x) for view, x in embeddings.items()}

    def evaluated(self) -> Objective:
        """Return the system with the nearest mean of exemplars as its classifier."""
        if not self.means:
            return self.objective
        return NearestMean(self.objective, self.means, self.exemplars.known)

    def get_extra_state(self) -> dict[str, Any]:
        """Return exemplars and means, for checkpoints."""
        kept = {"classes": self.exemplars.classes, "inputs": self.exemplars.inputs}
        return {**kept, "means": self.means}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Load what `get_extra_state` has returned."""
        self.exemplars = Exemplars(state["classes"], state["inputs"])
        self.means = state["means"]


class NearestMean(Classifier):
    """A system that classifies by the nearest mean of exemplars.

    Args:
        own: The system.
        means: Mean embedding [K, D] of each class, by view.
        known: The K classes; the others are never the answer.
    """

    def __init__(self, own: Classifier, means: Views, known: list[int]) -> None:
        super().__init__()
        self.own, self.means, self.known = own, means, known
        self.specs = own.specs

    def forward(self, batch: Batch, draws: Any = None) -> Output:
        """Return the output of the system."""
        out: Output = self.own(batch, draws)
        return out

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.own.classes

    @property
    def loss(self) -> Loss:
        """What a step of the system minimises."""
        return self.own.loss

    def embed(self, batch: Batch) -> Views:
        """Return the system's embeddings."""
        return self.own.embed(batch)

    def classify(self, batch: Batch) -> Views:
        """Return the negative squared distance to each class's mean [B, C], by view."""
        return with_both({view: self.near(view, x) for view, x in self.embed(batch).items()})

    def near(self, view: str, embeddings: Tensor) -> Tensor:
        """Return the negative squared distance of embeddings [B, D] to each mean [B, C]."""
        scores = embeddings.new_full((len(embeddings), self.classes), _UNSEEN)
        means = self.means[view].to(embeddings.device)
        scores[:, self.known] = 2 * _unit(embeddings) @ means.T - 2
        return scores

    def weights(self) -> dict[str, Any]:
        """Return the system's weights."""
        return self.own.weights()

    def load(self, path: Path) -> None:
        """Load weights into the system."""
        self.own.load(path)

    def measure(self, gallery: int) -> Measure:
        """Return what a task matrix shows of the system."""
        return self.own.measure(gallery)


def herd(embeddings: Tensor, count: int) -> Tensor:
    """Choose rows one by one so that their mean stays next to the mean of all.

    Args:
        embeddings: [N, D].
        count: Rows to choose; all if there are fewer.

    Returns:
        Their numbers, in the order of the choice.
    """
    mean, total = embeddings.mean(0), torch.zeros_like(embeddings[0])
    chosen: list[int] = []
    for number in range(1, min(count, len(embeddings)) + 1):
        distance = ((total + embeddings) / number - mean).norm(dim=1)
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total = total + embeddings[chosen[-1]]
    return torch.tensor(chosen)


def _inputs_at(batches: Batches, rows: Tensor) -> Inputs:
    """Return the inputs of some rows of all batches, in the given order, on the CPU."""
    wanted, places = torch.unique(rows, return_inverse=True)
    parts, first = [], 0
    for batch in batches():
        own = wanted[(wanted >= first) & (wanted < first + len(batch))] - first
        first += len(batch)
        if len(own):
            parts.append({name: x.cpu() for name, x in inputs_of(batch.rows(own.tolist())).items()})
    return {name: torch.cat([part[name] for part in parts])[places] for name in parts[0]}


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy, summed over classes, mean over rows."""
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return each.sum(1).mean()
