"""Zero-shot audio→video and video→audio retrieval, without training."""

import torch
from torch import nn

from avstore.train.evaluation.retrieval import chance
from avstore.train.systems.cavmae.downstream.base import Downstream, DownstreamData
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.objective import CAVMAEObjective


class Retrieve(Downstream):
    """Scores retrieval over all clips of the list, and the modality gap."""

    roles = ("retrieval", "eval")
    headline = "a2v_avg"

    def __init__(self, model: CAVMAE, config: DownstreamConfig, clips: DownstreamData) -> None:
        super().__init__(model, config, clips)
        self.head = nn.Identity()

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, dict[str, float]]:
        """Return retrieval scores in percent, the modality gap and the level of chance."""
        spec = self.spec(random=False)
        system = CAVMAEObjective(self.model, spec, spec)
        scores = system.scores(self.batches(spec, self.clips.evaluation), {})
        scores["all"]["chance_avg"] = chance(len(self.clips.evaluation))
        return scores
