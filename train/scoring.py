"""Score the evaluation clips of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from avstore.train.data import Batch, BatchSpec, Loader
from avstore.train.objective import Objective, Scores
from avstore.train.tasks import Stream

_SEEN = "tasks seen so far"


@dataclass(frozen=True)
class Scoring:
    """The clips to score, and where.

    Attributes:
        stream: The tasks, whose clips to evaluate on are scored.
        workers: Loader processes.
        device: Where batches are moved.
    """

    stream: Stream
    workers: int
    device: torch.device

    @property
    def clips(self) -> int:
        """Number of clips to score."""
        return len({clip for task in self.stream.tasks for clip in task.evaluation.clip_ids})

    def batches(self, spec: BatchSpec) -> Iterator[Batch]:
        """Yield every evaluation clip of the stream once."""
        seen = set[str]()
        for task in self.stream.tasks:
            if not len(task.evaluation):  # no clip of it has a label of the label set
                continue
            for batch in Loader(task.evaluation, spec, workers=self.workers):
                new = [row for row, clip in enumerate(batch.clip_ids) if clip not in seen]
                seen.update(batch.clip_ids)
                if new:
                    yield batch.to(self.device).rows(new)

    def scores(self, objective: Objective, trained: int, *, final: bool) -> Scores:
        """Return the scores of every task's clips, and of all.

        Args:
            objective: What is scored.
            trained: How many tasks it has been trained on, at least in part.
            final: Whether these are the scores after a task; else those after an epoch.
        """
        tasks = [task for task in self.stream.tasks if len(task.evaluation)]
        groups = {task.name: task.evaluation.clip_ids for task in tasks}
        own = (task.evaluation.clip_ids for task in self.stream.tasks[:trained])
        groups[_SEEN] = list(dict.fromkeys(clip for clips in own for clip in clips))
        if final:
            found = objective.final_scores(self.batches, groups)
        else:
            found = objective.scores(self.batches(objective.spec(training=False)), groups)
        gap = found.pop(_SEEN).get("modality_gap")
        if gap is not None:
            found["all"]["modality_gap_seen"] = gap
        return found
