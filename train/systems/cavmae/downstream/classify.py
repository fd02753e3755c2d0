"""Finetuned classification of clips."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.evaluation.classification import classification
from avstore.train.systems.cavmae.downstream.base import Downstream, DownstreamData
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.model import CAVMAE


class Classify(Downstream):
    """Classifies clips into the classes that the two lists have, numbered from 0.

    The released code keeps the numbers of the whole vocabulary and fails on a part of it (bug B21).
    With one label a clip to train on the loss is a cross-entropy, with several a binary
    cross-entropy of each class. With one label a clip to score the headline is the accuracy, with
    several the mAP.

    Attributes:
        place: Label id -> number of the class.
        single: Whether every clip to train on has one label.
    """

    def __init__(self, model: CAVMAE, config: DownstreamConfig, clips: DownstreamData) -> None:
        super().__init__(model, config, clips)
        lists = (clips.train, clips.evaluation)
        trained, scored = ([samples.label_ids(i) for i in range(len(samples))] for samples in lists)
        known = sorted({label for own in trained + scored for label in own})
        if len(known) < 2:
            raise UserError(
                f"the clips have {len(known)} class(es); classification needs at least 2: choose "
                "another --stream"
            )
        self.place = {label: number for number, label in enumerate(known)}
        self.single = all(len(own) == 1 for own in trained)
        one_each = self.single and all(len(own) == 1 for own in scored)
        self.headline = "accuracy" if one_each else "map"
        self.head = self.new_head()

    def new_head(self) -> nn.Module:
        """Return the untrained head."""
        return ClassHead(self.config.model.width, len(self.place))

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy."""
        logits, targets = self.logits(batch), self.targets(batch).to(self.device)
        if self.single:
            return F.cross_entropy(logits, targets)
        return F.binary_cross_entropy_with_logits(logits, targets)

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, classes]."""
        with torch.set_grad_enabled(not self.config.frozen and torch.is_grad_enabled()):
            features = pooled(*self.model.features(batch.video, batch.audio))
        out: Tensor = self.head(features)
        return out

    def targets(self, batch: Batch) -> Tensor:
        """Return targets of 0 and 1, [B, classes]."""
        out = torch.zeros(len(batch), len(self.place))
        for row, label_ids in enumerate(batch.labels):
            out[row, [self.place[int(label)] for label in label_ids]] = 1
        return out

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, dict[str, float]]:
        """Return scores of the middle window; final ones of probabilities averaged over windows.

        A task's clips are classified into all classes, as all clips are.
        """
        specs = self.final_specs() if final else [self.spec(random=False)]
        windows = [self.predict(spec) for spec in specs]
        mean = sum((own.probability for own in windows[1:]), windows[0].probability) / len(windows)
        first = windows[0]
        rows = {
            name: [i for i, clip_id in enumerate(first.clip_ids) if clip_id in clips]
            for name, clips in self.clips.tasks.items()
        }
        rows["all"] = list(range(len(first.clip_ids)))
        return {
            name: classification(mean[index], first.targets[index])
            for name, index in rows.items()
            if index
        }

    def predict(self, spec: BatchSpec) -> "Predicted":
        """Return the predictions of one window of every clip to score."""
        probability, targets, clip_ids = [], [], []
        for batch in self.batches(spec, self.clips.evaluation):
            probability.append(self.probability(batch))
            targets.append(self.targets(batch))
            clip_ids += batch.clip_ids
        return Predicted(torch.cat(probability), torch.cat(targets), clip_ids)

    def final_specs(self) -> list[BatchSpec]:
        """Return a spec for each input whose probabilities the final scores average."""
        return [self.at_window(start) for start in self.config.windows] or [self.spec(random=False)]

    def probability(self, batch: Batch) -> Tensor:
        """Return probabilities [B, classes], on the CPU."""
        return self.activate(self.logits(batch)).cpu()

    def activate(self, logits: Tensor) -> Tensor:
        """Return the probabilities of logits."""
        return logits.float().softmax(-1) if self.single else logits.float().sigmoid()


@dataclass(frozen=True)
class Predicted:
    """Predictions of one window.

    Attributes:
        probability: Probabilities [N, C].
        targets: 0 or 1, [N, C].
        clip_ids: The clips, N.
    """

    probability: Tensor
    targets: Tensor
    clip_ids: list[str]


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
