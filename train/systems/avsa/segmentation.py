"""AVSA's evaluation by semantic segmentation: a head on frozen encoders labels pixels of views."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.datasets.yt360_panoptic import panoptic_classes
from avstore.manifests.label_maps import IGNORED
from avstore.train import dist
from avstore.train.config import Config
from avstore.train.data import Batch, BatchSpec
from avstore.train.data.spatial import Chain, SphericalViews
from avstore.train.data.spatial_labels import (
    LABEL_MAP,
    LabelAtEnd,
    LabelledViews,
    MirrorPanorama,
)
from avstore.train.errors import UserError
from avstore.train.evaluation.semantic import class_areas, semantic_scores
from avstore.train.objective import Objective, Output, Scores, eval_mode, gathered, rows_of
from avstore.train.systems import sections
from avstore.train.systems.avsa.encoders import pooled
from avstore.train.systems.avsa.inputs import augmentation, pictures, sounds, view_spec
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.avsa.model_config import AVSAConfig
from avstore.train.systems.avsa.segmentation_head import SegmentationHead
from avstore.train.systems.avsa.settings import SegmentationSettings
from avstore.train.systems.avsa.weights import load_backbone, read_head
from avstore.train.systems.state_dicts import fit_state_dict
from avstore.train.task_matrix import Measure

TRAINING_WIDTH, TEST_WIDTH = (0.15, 0.30), (0.25, 0.25)
"""Half the width of views on the tangent plane, in units of pi."""

_STRIDE = 16
"""Pixels of a view's side for one of the last stage: each stage halves its picture."""


def batch_spec(config: Config, *, training: bool) -> BatchSpec:
    """Return what the loader must deliver: views with their sound and their labels.

    A panorama is mirrored as a whole, with its labels and its sound, and not each view alone.

    Raises:
        ValueError: The side of the views does not fit the encoder's stages.
    """
    _, own = sections(config, AVSAConfig, SegmentationSettings)
    if own.size % _STRIDE:
        raise ValueError(f"objective.size={own.size} is no multiple of {_STRIDE}")
    spec = view_spec(config, own, training=training)
    changed = training or own.augmented_test
    views = SphericalViews(
        own.views,
        own.size,
        width=TRAINING_WIDTH if training else TEST_WIDTH,
        distance=own.distance,
        seconds=config.data.seconds,
        published=own.geometry == "published",
    )
    before = (MirrorPanorama(),) if changed and own.flip else ()
    after = (replace(augmentation(own), flip=0.0),) if changed else ()
    labels = LabelAtEnd(own.labels, panoptic_classes().evaluated)
    steps = Chain((labels, *before, LabelledViews(views), *after))
    return replace(spec, read=(*spec.read, own.labels), transform=steps)


def build(config: Config, training: BatchSpec, evaluation: BatchSpec) -> "SegmentationObjective":
    """Return the system with new weights."""
    shape, own = sections(config, AVSAConfig, SegmentationSettings)
    return SegmentationObjective(AlignmentNet(shape), training, evaluation, own)


class SegmentationObjective(Objective):
    """A feature pyramid on the stages of the video encoder, which knows the sound of the view.

    Args:
        model: The networks, which are not trained.
        training: What the loader delivers in training.
        evaluation: What the loader delivers in evaluation.
        settings: What the head knows.

    Raises:
        UserError: The head needs predictors, and the networks have none.
    """

    def __init__(
        self,
        model: AlignmentNet,
        training: BatchSpec,
        evaluation: BatchSpec,
        settings: SegmentationSettings,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.specs, self.settings = (evaluation, training), settings
        if settings.context == "all" and model.audio_predictor is None:
            raise UserError(
                'objective.context = "all" needs predictors; set model.predictors=context'
            )
        known = {"off": 0, "sound": 1, "all": 3}[settings.context]
        steps = [settings.frames]
        while len(steps) < len(model.config.widths):
            steps.append((steps[-1] + 1) // 2)
        self.classes = len(panoptic_classes().evaluated)
        self.head = SegmentationHead(
            model.config.widths, steps, known * model.config.width, self.classes
        )

    def train(self, mode: bool = True) -> "SegmentationObjective":
        """Set the training mode; strictly, the networks stay in evaluation mode.

        As published, their batch normalisation uses, and gathers, statistics of the batches, and
        the predictors' dropout is on.
        """
        super().train(mode)
        if self.settings.backbone == "frozen":
            self.model.eval()
        return self

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return each clip's share of the mean cross-entropy of all labelled pixels.

        Without a labelled pixel it is 0, with gradients of 0.
        """
        logits, labels = self.logits(batch), _labels(batch)
        each = F.cross_entropy(logits, labels.flatten(0, 1), ignore_index=IGNORED, reduction="none")
        pixels = dist.mean((labels != IGNORED).sum().float()).clamp_min(1)
        return Output(each.view(len(labels), -1).sum(1) * (len(labels) / pixels))

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B * V, classes, S, S] of the views."""
        frames = pictures(batch)
        with torch.no_grad():
            maps = self.model.video.maps(frames.flatten(0, 1).transpose(1, 2))
            known = self._context(batch, pooled(maps[-1]).view(*frames.shape[:2], -1))
        size = frames.shape[-2:]
        logits = self.head(maps, None if known is None else known.flatten(0, 1))
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)

    def _context(self, batch: Batch, video: Tensor) -> Tensor | None:
        """Return what the head knows of views beside their pictures [B, V, D]; None for nothing."""
        if self.settings.context == "off":
            return None
        audio = self.model.embed_audio(sounds(batch))
        if self.settings.context == "sound":
            return audio
        if self.model.audio_predictor is None or self.model.video_predictor is None:
            raise TypeError("a head that knows predictions needs predictors")
        predicted = self.model.audio_predictor(video), self.model.video_predictor(audio)
        return torch.cat([predicted[0], audio, predicted[1]], -1)

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return mean IoUs and pixel accuracies, in percent, by group (`semantic_scores`)."""
        s = self.settings
        with eval_mode(self):
            ids, (areas,) = gathered(batches, self._areas)
        clips = areas.reshape(len(ids) // s.windows, s.windows * s.views, *areas.shape[2:])
        return {
            name: semantic_scores(clips[own].flatten(0, 1), s.scored_clips * s.views)
            for name, own in rows_of(ids[:: s.windows], groups).items()
        }

    def _areas(self, batch: Batch) -> tuple[Tensor]:
        """Return areas [B, V, 3, classes]."""
        labels = _labels(batch)
        predicted = self.logits(batch).argmax(1)
        areas = class_areas(predicted, labels.flatten(0, 1), self.classes)
        return (areas.view(*labels.shape[:2], *areas.shape[1:]),)

    def weights(self) -> dict[str, Any]:
        """Return the weights of networks and head."""
        return self.state_dict()

    def load(self, path: Path) -> None:
        """Load the networks of AVSA's weights, and the head of a run's, if there is one.

        Raises:
            UserError: The file does not fit.
        """
        load_backbone(self.model, path, context=self.settings.context == "all")
        head = read_head(path)
        self.untrained = () if head else ("head",)
        if head:
            fit_state_dict(self.head, head, path)

    def measure(self, gallery: int) -> Measure:
        """Return the mean IoU as what a task matrix shows."""
        words = {
            "miou": "mean IoU",
            "pixel_accuracy": "pixel accuracy",
            "picture_miou": "mean IoU of pictures (published)",
            "batch_accuracy": "pixel accuracy of batches (published)",
        }
        return Measure("Semantic segmentation", "mIoU", "mean IoU", ("miou",), words, None)


def _labels(batch: Batch) -> Tensor:
    """Return the labels of views, int64 [B, V, S, S]."""
    labels: Tensor = batch[LABEL_MAP]
    return labels.long()
