"""Embeddings of evaluation clips: unmasked, middle window, no augmentation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train.data import BatchSpec, SampleList, batches
from avstore.train.systems.cavmae.model import CAVMAE


@dataclass(frozen=True)
class Gallery:
    """Embeddings [N, D] on the CPU, and whose they are."""

    audio: Tensor
    video: Tensor
    clip_ids: list[str]

    def rows(self, clip_ids: list[str]) -> list[int]:
        """Places of some clips."""
        place = {clip_id: index for index, clip_id in enumerate(self.clip_ids)}
        return [place[clip_id] for clip_id in clip_ids]


@torch.no_grad()
def embed_all(
    model: CAVMAE, lists: list[SampleList], spec: BatchSpec, device: torch.device, workers: int = 0
) -> Gallery:
    """Each clip once, in the order of the lists, whatever lists it is in."""
    was_training = model.training
    model.eval()
    audio, video, ids = [], [], []
    seen: set[str] = set()
    for samples in lists:
        for batch in batches(samples, spec, seed=0, epoch=0, workers=workers):
            new = [i for i, clip_id in enumerate(batch.clip_ids) if clip_id not in seen]
            if not new:
                continue
            there = batch.to(device)
            a, v = model.embed(there.video[new], there.audio[new])
            audio.append(a.cpu())
            video.append(v.cpu())
            ids += [batch.clip_ids[i] for i in new]
            seen.update(ids)
    model.train(was_training)
    return Gallery(torch.cat(audio), torch.cat(video), ids)
