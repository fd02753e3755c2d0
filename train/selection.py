"""Which weights a run reports: the last, those of the best epoch, or a mean of epochs."""

from collections.abc import Mapping
from math import inf, isnan
from typing import Any

from torch import Tensor

from avstore.train.averaging import WeightAverage
from avstore.train.sections import Select

State = dict[str, Tensor]


class Selection:
    """The scores of the epochs so far, and the weights that they select.

    Args:
        select: The "last" epoch, or the "best" one.
        average: First and last epoch, from 1, whose mean weights replace it; None for no mean.

    Attributes:
        scores: Headline score after each epoch.
    """

    def __init__(self, select: Select, average: tuple[int, int] | None) -> None:
        self.select = select
        self.scores: list[float] = []
        self._best: State | None = None
        self._average = WeightAverage(*average) if average else None

    @property
    def needs_weights(self) -> bool:
        """Whether epochs must be added with their weights."""
        return self.select == "best" or self._average is not None

    def add(self, score: float, weights: Mapping[str, Tensor]) -> None:
        """Add an epoch: its headline score, nan for none, and the weights after it."""
        score = -inf if isnan(score) else score
        best = not self.scores or score > max(self.scores)
        self.scores.append(score)
        if self.select == "best" and best:
            self._best = {name: value.clone() for name, value in weights.items()}
        if self._average is not None:
            self._average.add(len(self.scores), dict(weights))

    def chosen(self) -> State | None:
        """Return the weights to report; None for the last ones."""
        if self._average is not None and self._average.count:
            return self._average.mean()
        return self._best

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        average = self._average.state_dict() if self._average else None
        return {"scores": self.scores, "best": self._best, "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.scores, self._best = list(state["scores"]), state["best"]
        if self._average is not None and state["average"]:
            self._average.load_state_dict(state["average"])
