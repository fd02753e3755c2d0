"""What pages show of training runs. The command fills it: pipelines do not import train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ScoredClip:
    """A clip with a run's score of it, in percent."""

    clip_id: str
    score: float


@dataclass(frozen=True)
class FoundEvent:
    """What a run found in some seconds of a clip.

    Attributes:
        run: Name of the run.
        modality: Where it was found.
        label_id: The class.
        onset_s: Where it begins, in seconds.
        offset_s: Where it ends.
    """

    run: str
    modality: str
    label_id: int
    onset_s: float
    offset_s: float


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
        problem: Why its files cannot be read; "" if they can.
        metric: What single clips are scored by; "" if they are not.
        best: Clips that scored best, the best first.
        worst: Clips that scored worst, the worst first.
    """

    name: str
    settings: Mapping[str, Any]
    finished: str | None
    scores: Mapping[str, float]
    tasks: Sequence[str] = ()
    matrix: Sequence[Sequence[float]] = ()
    losses: Sequence[tuple[float, float]] = ()
    problem: str = ""
    metric: str = ""
    best: Sequence[ScoredClip] = ()
    worst: Sequence[ScoredClip] = ()


class RunLibrary(Protocol):
    """The runs below a folder."""

    def listed(self) -> Sequence[TrainingRun]:
        """Return all runs, without losses and matrix."""
        ...

    def run(self, name: str) -> TrainingRun:
        """Return one run. Raise StoreError if there is none of that name."""
        ...

    def events(self, clip_id: str) -> Sequence[FoundEvent]:
        """Return what the runs found in a clip."""
        ...
