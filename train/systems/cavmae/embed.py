"""Embed evaluation clips without mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.data import BatchSpec, SampleList, batches
from avstore.train.systems.cavmae.model import CAVMAE


@dataclass(frozen=True)
class Gallery:
    """Embeddings of clips, on the CPU.

    Attributes:
        audio: Audio embeddings [N, D].
        video: Video embeddings [N, D].
        clip_ids: The clip of each row.
    """

    audio: Tensor
    video: Tensor
    clip_ids: list[str]

    def rows(self, clip_ids: list[str]) -> list[int]:
        """Return the rows of some clips."""
        place = {clip_id: index for index, clip_id in enumerate(self.clip_ids)}
        return [place[clip_id] for clip_id in clip_ids]


@torch.no_grad()
def embed_all(
    model: CAVMAE, lists: list[SampleList], spec: BatchSpec, device: torch.device, workers: int = 0
) -> Gallery:
    """Embed every clip of some lists once, in the order of the lists.

    Args:
        model: The backbone.
        lists: Clips; one may be in several lists.
        spec: What the loader delivers.
        device: The model's device.
        workers: Loader processes.
    """
    was_training = model.training
    model.eval()
    audio, video, ids = [], [], []
    seen: set[str] = set()
    for samples in lists:
        for batch in batches(samples, spec, seed=0, epoch=0, workers=workers):
            new = [i for i, clip_id in enumerate(batch.clip_ids) if clip_id not in seen]
            if not new:
                continue
            moved = batch.to(device)
            a, v = model.embed(moved.video[new], moved.audio[new])
            audio.append(a.cpu())
            video.append(v.cpu())
            ids += [batch.clip_ids[i] for i in new]
            seen.update(ids)
    model.train(was_training)
    return Gallery(torch.cat(audio), torch.cat(video), ids)
