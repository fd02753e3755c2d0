"""Finetuned classification of clips."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from avstore.train.classifier import LOGITS, row_losses
from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import classification
from avstore.train.objective import Output, Scores, eval_mode, gathered, rows_of
from avstore.train.systems.cavmae.downstream.base import Downstream
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.data import DownstreamData
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.task_matrix import Measure, classification_measure


class Classify(Downstream):
    """Classifies clips into the classes that the lists have, numbered from 0.

    The released code keeps the numbers of the whole vocabulary and fails on a part of it (bug B21).
    With one label a clip to train on the loss is a cross-entropy, with several a binary
    cross-entropy of each class. With one label a clip to score the headline is the accuracy, with
    several the mAP.

    Attributes:
        place: Label id -> number of the class.
        single: Whether every clip to train on has one label.
        headline: The score that picks the best epoch.
    """

    def __init__(self, model: CAVMAE, config: DownstreamConfig, data: DownstreamData) -> None:
        super().__init__(model, config, data)
        trained, *scored = (
            [samples.label_ids(i) for i in range(len(samples))] for samples in data.lists
        )
        known = sorted({label for labels in (trained, *scored) for own in labels for label in own})
        if len(known) < 2:
            raise UserError(
                f"the clips have {len(known)} class(es); classification needs at least 2: choose "
                "another --stream"
            )
        self.place = {label: number for number, label in enumerate(known)}
        self.single = all(len(own) == 1 for own in trained)
        one_each = self.single and all(len(own) == 1 for labels in scored for own in labels)
        self.headline = "accuracy" if one_each else "map"
        self.head = self.new_head()

    def new_head(self) -> nn.Module:
        """Return the untrained head."""
        return ClassHead(self.config.model.width, len(self.place))

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return cross-entropies and logits."""
        logits, targets = self.logits(batch), self.targets(batch).to(batch.frames.device)
        losses = row_losses(logits, targets, "ce" if self.single else "bce")
        return Output(losses, embeddings={LOGITS: logits})

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, classes]."""
        features = pooled(*self.backbone(self.model.features, batch.frames, batch.fbank))
        out: Tensor = self.head(features)
        return out

    def targets(self, batch: Batch) -> Tensor:
        """Return targets of 0 and 1, [B, classes]."""
        out = torch.zeros(len(batch), len(self.place))
        for row, label_ids in enumerate(batch.labels):
            out[row, [self.place[int(label)] for label in label_ids]] = 1
        return out

    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return scores of the middle window; a group's clips are classified into all classes."""
        return self._scores([batches], groups)

    def final_scores(
        self,
        batches: Callable[[BatchSpec], Iterable[Batch]],
        groups: Mapping[str, Sequence[str]],
    ) -> Scores:
        """Return scores of probabilities that are averaged over windows."""
        return self._scores([batches(spec) for spec in self.final_specs()], groups)

    @torch.no_grad()
    def _scores(
        self, windows: Sequence[Iterable[Batch]], groups: Mapping[str, Sequence[str]]
    ) -> Scores:
        mean = torch.zeros(())
        with eval_mode(self):
            for batches in windows:
                clip_ids, (probability, targets) = gathered(
                    batches, lambda batch: (self.probability(batch), self.targets(batch))
                )
                mean = mean + probability / len(windows)
        return {
            name: classification(mean[own], targets[own])
            for name, own in rows_of(clip_ids, groups).items()
        }

    def final_specs(self) -> list[BatchSpec]:
        """Return a spec for each input whose probabilities the final scores average."""
        windows = [self.at_window(start) for start in self.config.windows]
        return windows or [self.spec(training=False)]

    def probability(self, batch: Batch) -> Tensor:
        """Return probabilities [B, classes]."""
        return self.activate(self.logits(batch))

    def activate(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits."""
        return logits.float().softmax(-1) if self.single else logits.float().sigmoid()

    def measure(self, gallery: int) -> Measure:
        """Return accuracy or mAP as what a task matrix shows."""
        return classification_measure(self.headline)


class ClassHead(nn.Module):
    """Linear, tanh, Linear, LayerNorm, GELU, Linear to the classes, as in STELLA.

    Args:
        width: Width of a token; features have twice that.
        classes: Number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        both = 2 * width
        self.layers = nn.Sequential(
            nn.Linear(both, both),
            nn.Tanh(),
            nn.Linear(both, both),
            nn.LayerNorm(both),
            nn.GELU(),
            nn.Linear(both, classes),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [..., classes] of pooled features [..., 2 * width]."""
        out: Tensor = self.layers(features)
        return out


def pooled(audio: Tensor, video: Tensor) -> Tensor:
    """Return the means of joint tokens [B, La, D] and [B, Lv, D], concatenated, [B, 2 * D]."""
    return torch.cat([audio.float().mean(1), video.float().mean(1)], dim=-1)
