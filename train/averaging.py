"""The average of the weights of several epochs, as CAV-MAE's finetuning reports it."""

from typing import Any

from torch import Tensor


class WeightAverage:
    """Sum of the weights of a range of epochs.

    Args:
        first: First epoch of the range, from 1.
        last: Last epoch of the range.

    Attributes:
        count: Epochs in the sum.
    """

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.count = 0
        self._sum: dict[str, Tensor] = {}

    def add(self, epoch: int, state: dict[str, Tensor]) -> None:
        """Add the weights after an epoch, if it is in the range."""
        if not self.first <= epoch <= self.last:
            return
        for name, value in state.items():
            self._sum[name] = value + self._sum[name] if self.count else value.clone()
        self.count += 1

    def mean(self) -> dict[str, Tensor]:
        """Return the mean weights; at least one epoch must have been added."""
        return {name: value / self.count for name, value in self._sum.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"count": self.count, "sum": self._sum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.count, self._sum = state["count"], state["sum"]
