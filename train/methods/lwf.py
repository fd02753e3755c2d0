"""Learning without Forgetting (Li & Hoiem, ECCV 2016): answer as before the task on its clips."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from avstore.train.classifier import LOGITS, Classifier, require_classifier, targets_of
from avstore.train.data import Batch
from avstore.train.methods.base import Method, Options, Setup, frozen_copy
from avstore.train.objective import Objective


class LwFOptions(Options):
    """Settings of LwF, with the paper's values.

    Attributes:
        weight: Weight of the distillation (λ_o).
        temperature: Of both answers (T).
    """

    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)


class LwF(Method):
    """Trains the system's loss, and keeps the answers of the model before the task.

    The paper has a head for each task. Here all tasks share one, so the old answers are those over
    the classes of earlier tasks.

    Attributes:
        old: The model at the start of the task.
        seen: Whether a class is one of an earlier task [C].
    """

    Options = LwFOptions
    objective: Classifier
    seen: Tensor

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        own = require_classifier(objective, type(self).__name__)
        super().__init__(own, options, setup)
        self.old = frozen_copy(objective)
        self.register_buffer("seen", torch.zeros(own.classes, dtype=torch.bool))

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss and, after the first task, the distillation."""
        draws = self.objective.draw(batch)
        out = self.objective(batch, draws)
        losses = {"objective": out.loss.mean()}
        if bool(self.seen.any()):
            with torch.no_grad():
                before = self.old(batch, draws)
            now, old = (x.embeddings[LOGITS][:, self.seen] for x in (out, before))
            distilled = distillation(now, old, self.options.temperature)
            losses["distillation"] = self.options.weight * distilled
        return losses

    def task_started(self, task: int) -> None:
        """Keep the model before the task."""
        self.old.load_state_dict(self.objective.state_dict())

    def task_ended(self, task: int, batches: Callable[[], Iterable[Batch]]) -> None:
        """Add the task's classes to those seen."""
        for batch in batches():
            self.seen |= (targets_of(batch) > 0).any(0)


def distillation(now: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of two answers, softened by a temperature, mean over rows.

    Args:
        now: Logits [B, K].
        before: Logits [B, K] of the model that is imitated.
        temperature: Divides both.
    """
    target = (before.float() / temperature).softmax(1)
    return -(target * (now.float() / temperature).log_softmax(1)).sum(1).mean()
