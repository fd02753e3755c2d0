"""Zero-shot retrieval of a model as it is: no head, nothing trained."""

import torch
from torch import nn

from avstore.train.evaluation.embed import embed_all
from avstore.train.evaluation.retrieval import chance, modality_gap, retrieval
from avstore.train.systems.cavmae.downstream.base import Downstream, Material
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.model import CAVMAE


class Retrieve(Downstream):
    """Sound to picture and back over all clips of the list (spec 5.1), and the modality gap."""

    roles = ("retrieval", "eval")
    headline = "a2v_avg"

    def __init__(self, model: CAVMAE, config: DownstreamConfig, material: Material) -> None:
        super().__init__(model, config, material)
        self.head = nn.Identity()

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, float]:
        spec, workers = self.spec(random=False), self.config.data.workers
        found = embed_all(self.model, [self.material.evaluation], spec, self.device, workers)
        scores = retrieval(found.audio, found.video, {})["all"]
        scores["modality_gap"] = modality_gap(found.audio, found.video)
        scores["chance_avg"] = chance(len(found.clip_ids))
        return scores
