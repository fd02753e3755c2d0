"""AVE: what is seen and heard in each second of a clip (spec 1.5, 2.2 and 5.3)."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.evaluation.scores import event_accuracy
from avstore.train.systems.cavmae.downstream.base import Downstream, Material
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.seconds import one_second, starts
from avstore.train.systems.cavmae.heads import ClassHead, pooled
from avstore.train.systems.cavmae.model import CAVMAE

SECONDS = 10
CLASSES = 29
BACKGROUND = 28


class Event(Downstream):
    """Each second is a picture of its own `frames` frames and its own second of sound.

    The released code has neither head nor loss for it (bug B4); ours is the classification head
    on each second and its cross-entropy.
    """

    segments = "both"

    def __init__(self, model: CAVMAE, config: DownstreamConfig, material: Material) -> None:
        super().__init__(model, config, material)
        self.head = ClassHead(config.model.width, CLASSES)

    def spec(self, *, random: bool) -> BatchSpec:
        spec = super().spec(random=random)
        # The whole of the stored fbank: seconds are cut out of it afterwards.
        return replace(
            spec,
            frame_choice="even",
            frames=SECONDS * self.config.model.frames,
            fbank_frames=int(100 * self.config.data.seconds),
            noise=False,
            labels="segments",
            segments=SECONDS,
            classes=CLASSES,
            background=BACKGROUND,
        )

    def logits(self, batch: Batch) -> Tensor:
        """[B, 10, 29]."""
        m, d = self.config.model, self.config.data
        video = batch.video.reshape(-1, m.frames, *batch.video.shape[2:])
        first = starts(SECONDS, batch.audio.shape[2], self.config.audio_windows)
        silence = (0.0 - d.mean) / d.std
        audio = torch.stack(
            [one_second(batch.audio, start, m.fbank_frames, silence) for start in first], dim=1
        ).flatten(0, 1)
        with torch.set_grad_enabled(not self.config.frozen and torch.is_grad_enabled()):
            features = pooled(*self.model.features(video, audio))
        out: Tensor = self.head(features).reshape(len(batch), SECONDS, CLASSES)
        return out

    def loss(self, batch: Batch) -> Tensor:
        targets = _labels(batch)
        shares = targets / targets.sum(-1, keepdim=True)  # a second with two labels has half each
        return F.cross_entropy(self.logits(batch).flatten(0, 1), shares.flatten(0, 1))

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, float]:
        found = [
            (self.logits(batch).float().cpu(), _labels(batch).cpu())
            for batch in self.batches(self.spec(random=False), self.material.evaluation)
        ]
        return event_accuracy(torch.cat([s for s, _ in found]), torch.cat([t for _, t in found]))


def _labels(batch: Batch) -> Tensor:
    if not isinstance(batch.labels, Tensor):
        raise TypeError("the loader was not asked for labels by segment")
    return batch.labels
