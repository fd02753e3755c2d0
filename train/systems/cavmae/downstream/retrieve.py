"""Zero-shot audio→video and video→audio retrieval, without training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from avstore.train.data import Batch
from avstore.train.evaluation.retrieval import chance
from avstore.train.objective import Scores
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.data import DownstreamData
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.objective import CAVMAEObjective
from avstore.train.systems.cavmae.system import batch_spec


class Retrieve(CAVMAEObjective):
    """Scores retrieval over all clips of the lists, and the modality gap."""

    roles: ClassVar[tuple[str, ...]] = ("retrieval", "eval")
    segments: ClassVar[str | None] = None

    def __init__(self, model: CAVMAE, config: DownstreamConfig, data: DownstreamData) -> None:
        training, evaluation = (batch_spec(config, training=kind) for kind in (True, False))
        super().__init__(model, training, evaluation)

    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return retrieval scores in percent, the modality gap, and the level of chance."""
        clips: list[str] = []
        scores = super().scores(_noted(batches, clips), groups)
        scores["all"]["chance_avg"] = chance(len(clips))
        return scores


def _noted(batches: Iterable[Batch], clips: list[str]) -> Iterable[Batch]:
    """Yield batches, and add their clip ids to a list."""
    for batch in batches:
        clips += batch.clip_ids
        yield batch
