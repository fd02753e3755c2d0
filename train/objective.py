"""The interface of a system: a model with its loss by row, its embeddings and its scores."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from avstore.train.clip_scores import ClipScores
from avstore.train.data import Batch, BatchSpec, SampleList
from avstore.train.parameters import ParameterLayout
from avstore.train.task_matrix import Measure

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Output:
    """What a system gives for a batch.

    Attributes:
        loss: What is trained, by row [B].
        parts: Parts of the loss by name, each [B] or [].
        embeddings: Embeddings or logits by name, each [B, D], that methods keep in place.
    """

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module):
    """A system: set `specs`, and write `forward`, `scores`, `load` and `measure`.

    Random numbers of `forward` must come from `draw`, so that several copies of a model can see one
    input.

    Attributes:
        specs: What the loader must deliver in evaluation, and in training.
        idle: Whether a step may leave parameters without gradient.
        untrained: Parts that `load` did not find in the file and left at their initial weights.
        diagnostics: What the last forward pass found beside its loss, by name, each [], without
            gradient: it is recorded and not trained.
        clip_scores: What `scores` found of single clips, the last time; None for nothing.
    """

    specs: tuple[BatchSpec, BatchSpec]
    idle: bool = False
    untrained: tuple[str, ...] = ()
    diagnostics: Mapping[str, Tensor] = MappingProxyType({})
    clip_scores: ClipScores | None = None

    def spec(self, *, training: bool) -> BatchSpec:
        """Return what the loader must deliver."""
        return self.specs[training]

    def draw(self, batch: Batch) -> Any:
        """Return the random choices of one forward pass on a batch; None for none.

        What is returned has a method `rows(slice)` that gives the choices of some rows.
        """
        return None

    @abstractmethod
    def forward(self, batch: Batch, draws: Any = None) -> Output:
        """Return loss and embeddings; choices that are not given are drawn."""

    @abstractmethod
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Score the evaluation clips.

        Args:
            batches: Every clip to score once, from `spec(training=False)`.
            groups: Clip ids by the name of a task.

        Returns:
            Scores by metric, of each group and of "all".
        """

    def final_scores(
        self,
        batches: Callable[[BatchSpec], Iterable[Batch]],
        groups: Mapping[str, Sequence[str]],
    ) -> Scores:
        """Return the scores after a task; by default `scores`, which are those after an epoch too.

        Args:
            batches: Returns every clip to score once, as a spec says.
            groups: Clip ids by the name of a task.
        """
        return self.scores(batches(self.spec(training=False)), groups)

    def check(self, samples: SampleList) -> None:
        """Check that clips fit the system, before anything is trained.

        Args:
            samples: Clips to train on, or to score.

        Raises:
            UserError: They do not fit.
        """

    def certainty(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return how sure an output is of each row's truth, [B] by the embedding's name.

        Raises:
            NotImplementedError: The system does not say; methods that need it are refused.
        """
        raise NotImplementedError

    def weights(self) -> dict[str, Any]:
        """Return the model's weights, by the names that are saved and published."""
        return self.state_dict()

    @abstractmethod
    def load(self, path: Path) -> None:
        """Load weights of a run, or published ones.

        Raises:
            UserError: The file does not fit.
        """

    @property
    def layout(self) -> ParameterLayout:
        """How its parameters are decayed and layered: all matrices alike."""
        return ParameterLayout()

    @abstractmethod
    def measure(self, gallery: int) -> Measure:
        """Return what a task matrix shows of the scores.

        Args:
            gallery: Number of clips that are scored.
        """


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode inside the block."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def rows_of(clip_ids: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Return the rows of each group's clips, and of "all"."""
    place = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    rows = {name: [place[clip_id] for clip_id in ids] for name, ids in groups.items()}
    return {**rows, "all": list(range(len(clip_ids)))}


def gathered(
    batches: Iterable[Batch], score: Callable[[Batch], tuple[Tensor, ...]]
) -> tuple[list[str], list[Tensor]]:
    """Return the clip ids of some batches, and what each gives, on the CPU, one after another."""
    clip_ids: list[str] = []
    found: list[tuple[Tensor, ...]] = []
    for batch in batches:
        found.append(tuple(part.cpu() for part in score(batch)))
        clip_ids += batch.clip_ids
    return clip_ids, [torch.cat(parts) for parts in zip(*found, strict=True)]
