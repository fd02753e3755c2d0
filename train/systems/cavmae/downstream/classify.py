"""Finetuned classification: one feature a clip (spec 5.3)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.evaluation.scores import classification
from avstore.train.systems.cavmae.downstream.base import Downstream, Material
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.heads import ClassHead, pooled
from avstore.train.systems.cavmae.model import CAVMAE


class Classify(Downstream):
    """The classes that the two lists have, numbered through (the released code keeps the numbers
    of the whole vocabulary and fails on a part of it, bug B21).

    One label a clip: cross-entropy; several: a binary one of each class, and mAP is what counts.
    """

    def __init__(self, model: CAVMAE, config: DownstreamConfig, material: Material) -> None:
        super().__init__(model, config, material)
        lists = (material.train, material.evaluation)
        labels = [samples.label_ids(i) for samples in lists for i in range(len(samples))]
        known = sorted({label for own in labels for label in own})
        if len(known) < 2:
            raise UserError(f"classification needs clips of at least two classes, not {len(known)}")
        self.place = {label: number for number, label in enumerate(known)}
        self.single = all(len(own) == 1 for own in labels)
        self.headline = "accuracy" if self.single else "map"
        self.head = ClassHead(config.model.width, len(known))

    def loss(self, batch: Batch) -> Tensor:
        logits, targets = self.logits(batch), self.targets(batch).to(self.device)
        if self.single:
            return F.cross_entropy(logits, targets)
        return F.binary_cross_entropy_with_logits(logits, targets)

    def logits(self, batch: Batch) -> Tensor:
        """[B, classes]."""
        with torch.set_grad_enabled(not self.config.frozen and torch.is_grad_enabled()):
            features = pooled(*self.model.features(batch.video, batch.audio))
        out: Tensor = self.head(features)
        return out

    def targets(self, batch: Batch) -> Tensor:
        """[B, classes] of 0 and 1."""
        out = torch.zeros(len(batch), len(self.place))
        for row, label_ids in enumerate(batch.labels):
            out[row, [self.place[int(label)] for label in label_ids]] = 1
        return out

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, float]:
        """final: probabilities averaged over the windows; else of the middle one."""
        specs = [self.spec(random=False)]
        if final and self.config.windows:
            specs = [self.at_window(start) for start in self.config.windows]
        summed: Tensor | None = None
        for spec in specs:
            found = [
                (self.probability(batch), self.targets(batch))
                for batch in self.batches(spec, self.material.evaluation)
            ]
            own = torch.cat([scores for scores, _ in found])
            targets = torch.cat([truth for _, truth in found])
            summed = own if summed is None else summed + own
        assert summed is not None
        return classification(summed / len(specs), targets)

    def probability(self, batch: Batch) -> Tensor:
        logits = self.logits(batch).float()
        return (logits.softmax(-1) if self.single else logits.sigmoid()).cpu()
