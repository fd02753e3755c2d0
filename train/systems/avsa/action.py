"""Action recognition with AVSA's video encoder, finetuned (UCF101, HMDB51)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avstore.train.classifier import LOGITS, TRUE_CLASSES, Classifier, Views, row_losses, targets_of
from avstore.train.clip_scores import ClipScores
from avstore.train.config import Config
from avstore.train.data import Batch, BatchSpec
from avstore.train.data.crops import CentreCrop, RandomResizedCrop
from avstore.train.data.spatial import AugmentViews, Chain, jitter_colours
from avstore.train.objective import Output, Scores, eval_mode, rows_of
from avstore.train.systems import sections
from avstore.train.systems.avsa.encoders import VideoEncoder
from avstore.train.systems.avsa.model_config import ActionConfig
from avstore.train.systems.avsa.settings import ActionSettings
from avstore.train.systems.avsa.weights import read_weights
from avstore.train.systems.state_dicts import fit_state_dict
from avstore.train.systems.uavm.settings import Loss
from avstore.train.task_matrix import Measure

_VIEW = "video"
_TOP = 5


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: pictures of a random clip, in evaluation of one."""
    shape, own = sections(config, ActionConfig, ActionSettings)
    crop = RandomResizedCrop(own.size), AugmentViews(flip=0.5 * own.flip)
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        frames=own.frames,
        image_size=None,
        random=training,
        frame_choice="clip",
        pixels="uint8",
        read=("frames",),
        labels="multi_hot",
        classes=shape.classes,
        transform=Chain(crop) if training else CentreCrop(own.size, own.shorter),
    )


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> "ActionObjective":
    """Return the system with new weights."""
    shape, own = sections(config, ActionConfig, ActionSettings)
    return ActionObjective(shape, own, training, evaluation)


class ActionObjective(Classifier):
    """The video encoder with dropout and a linear layer, all of it trained.

    Args:
        config: The shape.
        settings: What it sees.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
    """

    loss: Loss = "ce"

    def __init__(
        self,
        config: ActionConfig,
        settings: ActionSettings,
        training: BatchSpec,
        evaluation: BatchSpec,
    ) -> None:
        super().__init__()
        self.config, self.settings = config, settings
        self.specs = (evaluation, training)
        self.video = VideoEncoder(config)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(config.width, config.classes)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.config.classes

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return cross-entropies and logits."""
        frames = batch.frames
        if "jitter" in batch:
            frames = jitter_colours(frames, batch["jitter"], batch["jitter_order"])
        logits = self.head(self.dropout(self._encoded(frames)))
        losses = row_losses(logits, targets_of(batch), self.loss)
        return Output(losses, embeddings={LOGITS: logits})

    def _encoded(self, frames: Tensor) -> Tensor:
        """Return embeddings [B, D] of pictures [B, T, 3, S, S]."""
        found: Tensor = self.video(frames.transpose(1, 2))
        return found

    def embed(self, batch: Batch) -> Views:
        """Return the embedding of the pictures [B, D]."""
        return {_VIEW: self._encoded(batch.frames)}

    def classify(self, batch: Batch) -> Views:
        """Return logits [B, C]."""
        return {_VIEW: self.head(self.dropout(self._encoded(batch.frames)))}

    def final_scores(
        self,
        batches: Callable[[BatchSpec], Iterable[Batch]],
        groups: Mapping[str, Sequence[str]],
    ) -> Scores:
        """Return accuracies of videos and of clips, in percent, and how often it is among five.

        Videos are classified by the mean probability of `windows` clips from start to end, clips
        by their own: as many random ones of each video.
        """
        even = replace(self.spec(training=False), clips=self.settings.windows)
        drawn = replace(even, random=True, shuffle="listed")
        ids, truth, mean = self._windows(batches(even))
        _, _, single = self._windows(batches(drawn))
        true = mean.mean(1).gather(1, truth[:, None])[:, 0]
        self.clip_scores = ClipScores(
            TRUE_CLASSES, dict(zip(ids, (100 * true).tolist(), strict=True))
        )
        return {
            name: {
                **_top(mean[own].mean(1), truth[own], _VIEW),
                **_top(
                    single[own].flatten(0, 1),
                    truth[own].repeat_interleave(self.settings.windows),
                    "clip",
                ),
            }
            for name, own in rows_of(ids, groups).items()
        }

    @torch.no_grad()
    def _windows(self, batches: Iterable[Batch]) -> tuple[list[str], Tensor, Tensor]:
        """Return the ids of videos, their classes [N] and probabilities [N, windows, C]."""
        ids: list[str] = []
        found, truth = [], []
        windows = self.settings.windows
        with eval_mode(self):
            for batch in batches:
                ids += batch.clip_ids[::windows]
                logits = self.classify(batch)[_VIEW].float()
                found.append(logits.softmax(1).view(-1, windows, self.classes).cpu())
                truth.append(targets_of(batch)[::windows].argmax(1).cpu())
        return ids, torch.cat(truth), torch.cat(found)

    def weights(self) -> dict[str, Any]:
        """Return the weights."""
        return self.state_dict()

    def load(self, path: Path) -> None:
        """Load the encoder of AVSA's weights, or encoder and head of a run of the same classes.

        Raises:
            UserError: The file does not fit.
        """
        state, own = read_weights(path), self.head.state_dict(prefix="head.")
        fits = all(key in state and state[key].shape == own[key].shape for key in own)
        self.untrained = () if fits else ("head",)
        head = {key: state[key] for key in own} if fits else own
        video = {key: value for key, value in state.items() if key.startswith("video.")}
        fit_state_dict(self, {**video, **head}, path)

    def measure(self, gallery: int) -> Measure:
        """Return the accuracy as what a task matrix shows."""
        return self.class_measure({_VIEW: _VIEW}, _VIEW)


def _top(probability: Tensor, truth: Tensor, what: str) -> dict[str, float]:
    """Return how often the true class is the first, or among the first five, in percent."""
    first = probability.topk(min(_TOP, probability.shape[1]), dim=1).indices
    hits = (first == truth[:, None]).float()
    return {
        f"{what}_accuracy": 100 * float(hits[:, 0].mean()),
        f"{what}_top{_TOP}": 100 * float(hits.sum(1).mean()),
    }
