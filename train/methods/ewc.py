"""Elastic Weight Consolidation (Kirkpatrick et al., PNAS 2017), and its online form."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.methods.base import Method, Options, Setup, frozen_copy
from avstore.train.objective import Objective, eval_mode


class EWCOptions(Options):
    """Settings of EWC.

    Attributes:
        weight: Weight of the penalty (the paper's λ; 400 in its runs on Atari games).
        online: Keep the parameters of the last task alone, and let earlier importance decay
            (Schwarz et al., ICML 2018), instead of a penalty for each task.
        decay: Factor of the importance from task to task with `online` (their γ).
        fisher_rows: Rows of a gradient that is squared. One row is the empirical Fisher
            information; several, whose gradients are added up before, are an estimate of it in
            fewer passes, and what losses need that compare rows, such as CAV-MAE's contrast.
    """

    weight: float = Field(default=400.0, ge=0)
    online: bool = False
    decay: float = Field(default=1.0, ge=0, le=1)
    fisher_rows: int = Field(default=16, ge=1)


class EWC(Method):
    """Penalises the change of parameters by how important they were for earlier tasks.

    The penalty is λ/2 Σ F (θ − θ*)², with the diagonal of the empirical Fisher information F of
    each task's own loss. The penalties of all tasks add up to one of the same form, but for a
    constant: F is their sum, and θ* their mean weighted by F. So two copies serve all tasks.

    Attributes:
        anchor: The parameters θ*.
        importance: Their importance F.
        tasks: Tasks in it.
    """

    Options = EWCOptions
    tasks: Tensor

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        self.anchor, self.importance = frozen_copy(objective), frozen_copy(objective)
        for p in self.importance.parameters():
            p.zero_()
        self.register_buffer("tasks", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return the loss and, after the first task, the penalty."""
        losses = {"objective": self.objective(batch).loss.mean()}
        if int(self.tasks):
            losses["penalty"] = self.penalty()
        return losses

    def penalty(self) -> Tensor:
        """Return λ/2 Σ F (θ − θ*)²."""
        moved = [(f * (p - old).square()).sum() for p, old, f in self.parts()]
        weight: float = self.options.weight
        return weight / 2 * torch.stack(moved).sum()

    def parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield each trained parameter with its anchor and its importance."""
        for p, old, f in zip(
            self.objective.parameters(),
            self.anchor.parameters(),
            self.importance.parameters(),
            strict=True,
        ):
            if p.requires_grad:
                yield p, old, f

    def task_ended(self, task: int, batches: Callable[[], Iterable[Batch]]) -> None:
        """Add the task's importance; nothing if a run that was stopped here has done so."""
        if task < int(self.tasks):
            return
        found = self.fisher(batches())
        with torch.no_grad():
            for (p, old, f), own in zip(self.parts(), found, strict=True):
                self.add(p, old, f, own)
        self.tasks.fill_(task + 1)

    def add(self, p: Tensor, anchor: Tensor, importance: Tensor, own: Tensor) -> None:
        """Add a task's importance of a parameter to anchor and importance, in place."""
        kept = (self.options.decay if self.options.online else 1.0) * importance
        both = kept + own
        # Where nothing was important the anchor does not matter.
        mean = torch.where(both > 0, (kept * anchor + own * p) / both, p)
        anchor.copy_(p if self.options.online else mean)
        importance.copy_(both)

    def fisher(self, batches: Iterable[Batch]) -> list[Tensor]:
        """Return the importance of each trained parameter, the mean over all rows of batches.

        Each process takes some of the batches.
        """
        own = [p for p, _, _ in self.parts()]
        squares, rows = [torch.zeros_like(p) for p in own], torch.zeros((), device=own[0].device)
        rank, world_size = dist.rank(), dist.world_size()
        with dist.alone(), eval_mode(self.objective):
            for number, batch in enumerate(batches):
                if number % world_size == rank:
                    torch.manual_seed(number)  # what is drawn does not depend on what was before
                    self._add_squares(batch, own, squares)
                    rows += len(batch)
        count = dist.total(rows)
        return [dist.total(square) / count for square in squares]

    def _add_squares(self, batch: Batch, own: list[Tensor], squares: list[Tensor]) -> None:
        for start in range(0, len(batch), self.options.fisher_rows):
            loss = self.objective(batch.rows(slice(start, start + self.options.fisher_rows))).loss
            gradients = torch.autograd.grad(loss.sum(), own, allow_unused=True)
            for square, gradient in zip(squares, gradients, strict=True):
                if gradient is not None:
                    square.add_(gradient.square())
