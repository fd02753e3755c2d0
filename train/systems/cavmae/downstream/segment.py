"""Segmentation of sounding objects (AVSBench, Zhou et al., ECCV 2022)."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, BatchSpec
from avstore.train.evaluation.masks import MASK_SIZE, MaskFit
from avstore.train.evaluation.segmentation import segmentation
from avstore.train.systems.cavmae.downstream.base import Downstream, DownstreamData
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from avstore.train.systems.cavmae.downstream.event import one_second
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.segmentation_head import SegmentationHead, joint_hidden

# AVSBench takes the start of the last of 16 equal parts of each second.
FRAME_OF_SECOND = 15 / 16


class Segmentation(Downstream):
    """Predicts a mask of each second, from its frame and the first second's audio."""

    headline = "miou"

    def __init__(self, model: CAVMAE, config: DownstreamConfig, clips: DownstreamData) -> None:
        super().__init__(model, config, clips)
        lists = (clips.train, clips.evaluation)
        self.masks = MaskFit(clips.store, lists, config.mask_fit)
        self.head = SegmentationHead(config.model, relu_skip=config.avs_head == "published")

    def spec(self, *, random: bool) -> BatchSpec:
        """Return a spec with the annotated frame of each second."""
        frames = self.config.model.frames
        return replace(
            super().spec(random=random),
            frame_choice="times",
            frame_times=tuple(second + FRAME_OF_SECOND for second in range(frames)),
            noise=False,
            read=("frames", "fbank", "masks"),
            segments=frames,
            mask_size=MASK_SIZE,
        )

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, T, 1, S, S]."""
        m, d = self.config.model, self.config.data
        audio = one_second(batch.audio, 0, m.fbank_frames, (0.0 - d.mean) / d.std)
        with torch.set_grad_enabled(not self.config.frozen and torch.is_grad_enabled()):
            hidden, tokens = joint_hidden(self.model, batch.video, audio)
        out: Tensor = self.head(hidden, tokens)
        return out

    def loss(self, batch: Batch) -> Tensor:
        """Return the binary cross-entropy of the annotated frames."""
        masks, known = self.truth(batch)
        return F.binary_cross_entropy_with_logits(self.logits(batch)[known], masks[known])

    def truth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return masks [B, T, 1, S, S] and which frames have one [B, T]; S4 trains on the first."""
        return self.masks.fit(batch, self.config.model.image_size)

    @torch.no_grad()
    def scores(self, *, final: bool) -> dict[str, dict[str, float]]:
        """Return the scores of the annotated frames."""
        probabilities, truths, clips = [], [], []
        first = 0  # number of the batch's first clip
        for batch in self.batches(self.spec(random=False), self.clips.evaluation):
            masks, known = self.truth(batch)
            probabilities.append(self.logits(batch)[known].float().sigmoid().cpu()[:, 0])
            truths.append(masks[known].cpu()[:, 0])
            clips.append(first + known.nonzero()[:, 0].cpu())
            first += len(known)
        scored = segmentation(torch.cat(probabilities), torch.cat(truths), torch.cat(clips))
        return {"all": scored}
