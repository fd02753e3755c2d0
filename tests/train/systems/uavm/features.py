"""UAVM as a system on made-up features, for tests that need no loader."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.objective import UAVMObjective
from avstore.train.systems.uavm.settings import UAVMSettings

AUDIO, VIDEO = "convnext-audio", "convnext-visual"
SMOOTHING = 0.1


def spec(**settings: Any) -> BatchSpec:
    """Return what UAVM needs of the loader."""
    return BatchSpec(4, read=(AUDIO, VIDEO), labels="multi_hot", **settings)


def system(config: UAVMConfig, seed: int = 0, **settings: Any) -> UAVMObjective:
    """Return the system with a model of that shape."""
    return UAVMObjective(UAVM(config), spec(), spec(random=False), UAVMSettings(**settings), seed)


def as_batch(
    audio: Tensor, video: Tensor, classes: Sequence[int], count: int, step: int, smoothing: float
) -> Batch:
    """Return rows as the loader delivers features and labels of `count` classes.

    Args:
        audio: Features [B, rows, width].
        video: Features [B, rows, width].
        classes: Class of each row.
        count: Number of classes.
        step: Step of the run.
        smoothing: Label smoothing.
    """
    labels = torch.full((len(audio), count), smoothing / count)
    labels[torch.arange(len(audio)), torch.tensor(classes)] = 1 - smoothing
    return Batch(
        video=None,
        audio=None,
        labels=labels,
        clip_ids=[f"clip {step} {row}" for row in range(len(audio))],
        step=step,
        slots=torch.full((len(audio),), -1),
        features={AUDIO: audio, VIDEO: video},
    )


class MadeUp:
    """20 classes, each with a direction a modality and 8 clips to train and 8 to test.

    Features are rows of 0.5 · direction + noise, divided by their length.
    """

    CLASSES, CLIPS, ROWS, WIDTH = 20, 8, 30, 64

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        directions = torch.randn(2, self.CLASSES, 1, 1, self.WIDTH, generator=draw)

        def some() -> Tensor:
            shape = (2, self.CLASSES, self.CLIPS, self.ROWS, self.WIDTH)
            noise = torch.randn(*shape, generator=draw)
            return F.normalize(0.5 * directions + noise, dim=-1).flatten(1, 2)

        self.train, self.test = some(), some()
        self.truth = torch.arange(self.CLASSES).repeat_interleave(self.CLIPS)

    def config(self, own: int = 1, shared: int = 1) -> UAVMConfig:
        """Return a small model of these features, of that many blocks."""
        width = self.WIDTH
        shape = {"classes": self.CLASSES, "input_width": width, "width": width, "rows": self.ROWS}
        return UAVMConfig(**shape, own_depth=own, shared_depth=shared)

    def training(self, rows: Tensor, step: int) -> Batch:
        """Return a training batch of some rows."""
        return self.batch(self.train, rows, step, SMOOTHING)

    def plain(self, rows: Tensor) -> list[Batch]:
        """Return the training batches of some rows without augmentation."""
        return [self.batch(self.train, part, n, 0.0) for n, part in enumerate(rows.split(16))]

    def evaluation(self) -> list[Batch]:
        """Return the test batches; clip n is called "n"."""
        parts = torch.arange(len(self.truth)).split(32)
        return [self.batch(self.test, part, n, 0.0) for n, part in enumerate(parts)]

    def batch(self, features: Tensor, rows: Tensor, step: int, smoothing: float) -> Batch:
        """Return some rows of features as a batch; the clips are called by their row."""
        truth = self.truth[rows].tolist()
        audio, video = features[:, rows]
        found = as_batch(audio, video, truth, self.CLASSES, step, smoothing)
        found.clip_ids[:] = [str(row) for row in rows.tolist()]
        return found
