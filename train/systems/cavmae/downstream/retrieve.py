"""Zero-shot audio→video and video→audio retrieval, without training."""

import torch
from torch import nn

from avstore.train.evaluation.retrieval import chance, modality_gap, retrieval
from avstore.train.systems.cavmae.downstream.base import Downstream, DownstreamData
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.embed import embed_all
from avstore.train.systems.cavmae.model import CAVMAE


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
        spec, workers = self.spec(random=False), self.config.data.workers
        gallery = embed_all(self.model, [self.clips.evaluation], spec, self.device, workers)
        scores = retrieval(gallery.audio, gallery.video, {})["all"]
        scores["modality_gap"] = modality_gap(gallery.audio, gallery.video)
        scores["chance_avg"] = chance(len(gallery.clip_ids))
        return {"all": scores}
