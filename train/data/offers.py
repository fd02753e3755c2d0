"""Number the rows that a plan offers to each reservoir, and find the place of a numbered row."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Offers:
    """The rows of all steps, dealt out to the reservoirs.

    Row i of a step is offered to reservoir i mod `reservoirs`: so that process p of W holds the
    reservoirs p, p + W, … for any W that divides their number, as it holds these rows.

    Attributes:
        lengths: Rows of an epoch of each task.
        batch_size: Rows of a step.
        epochs: Epochs of each task.
        reservoirs: Number of reservoirs; divides the batch size.
    """

    lengths: Sequence[int]
    batch_size: int
    epochs: int
    reservoirs: int = 1

    def total(self, reservoir: int) -> int:
        """Return how many rows a reservoir is offered in all."""
        return int(self._starts[reservoir][-1])

    def before(self, reservoir: int, task: int, epoch: int, step: int) -> int:
        """Return how many rows a reservoir was offered before a step of a task's epoch."""
        own = self._per_epoch(reservoir)[task]
        start = self._starts[reservoir][task]
        return int(start + epoch * own + step * (self.batch_size // self.reservoirs))

    def places(
        self, reservoir: int, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return task, epoch of the task, and place in the epoch of numbered rows, each [N]."""
        starts = self._starts[reservoir]
        task = np.searchsorted(starts, numbers, side="right") - 1
        epoch, rest = np.divmod(numbers - starts[task], self._per_epoch(reservoir)[task])
        step, row = np.divmod(rest, self.batch_size // self.reservoirs)
        return task, epoch, step * self.batch_size + reservoir + row * self.reservoirs

    def _per_epoch(self, reservoir: int) -> NDArray[np.int64]:
        """Return the rows of each task's epoch that a reservoir is offered."""
        whole, rest = np.divmod(np.asarray(self.lengths, np.int64), self.batch_size)
        last = np.maximum(0, -((reservoir - rest) // self.reservoirs))
        share = self.batch_size // self.reservoirs
        rows: NDArray[np.int64] = whole * share + last
        return rows

    @cached_property
    def _starts(self) -> list[NDArray[np.int64]]:
        """For each reservoir, the number of the first row of each task, and of all rows."""
        return [
            np.concatenate([[0], np.cumsum(self.epochs * self._per_epoch(reservoir))])
            for reservoir in range(self.reservoirs)
        ]
