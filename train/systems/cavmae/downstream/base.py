"""The interface of a downstream task: its batches, its loss, its scores."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from avstore.train.data import (
    Augment,
    Batch,
    BatchSpec,
    OpenStore,
    SampleList,
    batches,
    class_balanced,
)
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.weights import load_backbone


@dataclass(frozen=True)
class DownstreamData:
    """Store and clips of a downstream run.

    Attributes:
        store: The store.
        train: Clips to train on.
        evaluation: Clips to score.
        tasks: Which of them are each task's, by its name; scored one by one too.
    """

    store: OpenStore
    train: SampleList
    evaluation: SampleList
    tasks: Mapping[str, Set[str]] = field(default_factory=dict)


class Downstream(nn.Module):
    """A backbone and a head. Subclasses give `head`, `loss`, `scores` and, if needed, `spec`.

    Attributes:
        roles: Roles of the stream to evaluate on; the first that has clips is taken.
        segments: Modality of the segment labels that the lists need, None without.
        headline: The score that picks the best epoch.
        head: Layers on top of the backbone.
        model: The backbone.
        config: The run's configuration.
        clips: Store and clips.
    """

    roles: tuple[str, ...] = ("eval", "retrieval")
    segments: str | None = None
    headline = "accuracy"
    head: nn.Module

    def __init__(self, model: CAVMAE, config: DownstreamConfig, clips: DownstreamData) -> None:
        super().__init__()
        self.model = model.requires_grad_(not config.frozen)
        self.config = config
        if config.balanced:
            clips = replace(clips, train=class_balanced(clips.train))
        self.clips = clips

    def load_initial(self, path: Path) -> None:
        """Load the weights to start from."""
        load_backbone(self.model, path)

    @property
    def device(self) -> torch.device:
        """The backbone's device."""
        return next(self.model.parameters()).device

    def train(self, mode: bool = True) -> "Downstream":
        """Set the training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.model.train(mode and not self.config.frozen)
        return self

    def spec(self, *, random: bool) -> BatchSpec:
        """Return what the loader must deliver.

        Args:
            random: Whether to draw and augment as in training; else the middle window.
        """
        c = self.config
        return BatchSpec(
            batch_size=c.batch_size if random else c.eval_batch,
            frames=c.model.frames,
            image_size=c.model.image_size,
            fbank_frames=c.model.fbank_frames,
            seconds=c.data.seconds,
            random=random,
            weighted=random and c.balanced,
            frame_choice="random" if random and c.data.frame_choice == "random" else None,
            noise=c.noise,
            mean=c.data.mean,
            std=c.data.std,
            decode=c.data.finish,
            fbank=c.data.finish,
            augment=Augment(crop=c.cropped, freq_mask=c.freq_mask, time_mask=c.time_mask),
        )

    def batches(self, spec: BatchSpec, samples: SampleList, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, on the device."""
        c = self.config
        for batch in batches(samples, spec, seed=c.seed, epoch=epoch, workers=c.data.workers):
            yield batch.to(self.device)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss to train, a scalar."""
        raise NotImplementedError

    def scores(self, *, final: bool) -> dict[str, dict[str, float]]:
        """Return scores of the whole evaluation list as "all", and perhaps of each task's clips.

        Args:
            final: Whether they are the run's result; else scores after an epoch.
        """
        raise NotImplementedError

    def at_window(self, start: float) -> BatchSpec:
        """Return the spec of evaluation on frames a second apart, from `start` seconds."""
        spec = self.spec(random=False)
        times = tuple(start + k for k in range(spec.frames))
        return replace(spec, frame_choice="times", frame_times=times)
