"""Segmentation of sounding objects (AVSBench, Zhou et al., ECCV 2022)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.evaluation.masks import MASK_SIZE, MaskFit
from avstore.train.evaluation.segmentation import segmentation
from avstore.train.objective import Output, Scores, eval_mode, gathered, rows_of
from avstore.train.systems.cavmae.downstream.base import Downstream
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.data import DownstreamData
from avstore.train.systems.cavmae.downstream.event import one_second
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.segmentation_head import SegmentationHead, joint_hidden
from avstore.train.systems.cavmae.system import batch_spec
from avstore.train.task_matrix import Measure

# AVSBench takes the start of the last of 16 equal parts of each second.
FRAME_OF_SECOND = 15 / 16


class Segmentation(Downstream):
    """Predicts a mask of each second, from its frame and the first second's audio."""

    def __init__(self, model: CAVMAE, config: DownstreamConfig, data: DownstreamData) -> None:
        super().__init__(model, config, data)
        self.masks = MaskFit(data.store, data.lists, config.mask_fit)
        self.head = SegmentationHead(config.model, relu_skip=config.avs_head == "published")

    def spec(self, *, training: bool) -> BatchSpec:
        """Return a spec with the annotated frame of each second."""
        frames = self.config.model.frames
        return batch_spec(
            self.config,
            training=training,
            frame_choice="times",
            frame_times=tuple(second + FRAME_OF_SECOND for second in range(frames)),
            read=("frames", "fbank", "masks"),
            segments=frames,
            mask_size=MASK_SIZE,
        )

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, T, 1, S, S]."""
        m, d = self.config.model, self.config.data
        audio = one_second(batch.fbank, 0, m.fbank_frames, (0.0 - d.mean) / d.std)
        hidden, tokens = self.backbone(partial(joint_hidden, self.model), batch.frames, audio)
        out: Tensor = self.head(hidden, tokens)
        return out

    def forward(self, batch: Batch, draws: None = None) -> Output:
        """Return the binary cross-entropy of each clip's share of the annotated frames."""
        masks, known = self.truth(batch)
        each = F.binary_cross_entropy_with_logits(self.logits(batch), masks, reduction="none")
        shares = known.float() * len(known) / known.sum().clamp_min(1)
        return Output((each.mean((2, 3, 4)) * shares).sum(1))

    def truth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return masks [B, T, 1, S, S] and which frames have one [B, T]; S4 trains on the first."""
        return self.masks.fit(batch, self.config.model.image_size)

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return the scores of the annotated frames."""
        with eval_mode(self):
            clip_ids, (found, truths, known) = gathered(batches, self._masks)
        scores: dict[tuple[int, ...], dict[str, float]] = {}
        rows = {name: tuple(own) for name, own in rows_of(clip_ids, groups).items()}
        for own in rows.values():
            if own not in scores:  # it takes seconds, and one task is all clips
                clips, frames = known[list(own)].nonzero(as_tuple=True)
                at = torch.tensor(own)[clips], frames
                scores[own] = segmentation(found[at], truths[at], clips)
        return {name: scores[own] for name, own in rows.items()}

    def _masks(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities and truth [B, T, S, S] of masks, and which exist [B, T]."""
        masks, known = self.truth(batch)
        return self.logits(batch).float().sigmoid()[:, :, 0], masks[:, :, 0], known

    def measure(self, gallery: int) -> Measure:
        """Return the mIoU as what a task matrix shows."""
        return Measure("Segmentation", "mIoU", "mean IoU", ("miou",), {"miou": "mean IoU"}, None)
