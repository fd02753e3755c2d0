"""What pages show of training runs. The command fills it: pipelines do not import train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class TrainingRun:
    """A training run.

    Attributes:
        name: Its path below the folder of runs.
        settings: Its configuration by dotted key.
        finished: When it ended, or None.
        scores: Final scores by name, in percent.
        tasks: Names of its tasks.
        matrix: Score of each task (column) after each training (row), in percent.
        losses: Loss by step.
    """

    name: str
    settings: Mapping[str, Any]
    finished: str | None
    scores: Mapping[str, float]
    tasks: Sequence[str] = ()
    matrix: Sequence[Sequence[float]] = ()
    losses: Sequence[tuple[float, float]] = ()


class RunLibrary(Protocol):
    """The runs below a folder."""

    def listed(self) -> Sequence[TrainingRun]:
        """Return all runs, without losses and matrix."""
        ...

    def run(self, name: str) -> TrainingRun:
        """Return one run. Raise StoreError if there is none of that name."""
        ...
