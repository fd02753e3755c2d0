"""Cut frames and fbanks into patches, and select some of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.systems.cavmae.model_config import ModelConfig


@dataclass(frozen=True)
class Patches:
    """Pixels of some patches, and their positions.

    Attributes:
        video: Video patches [B, Kv, 3, p, p].
        audio: Audio patches [B, Ka, 1, q, q].
        video_ids: Positions in the full sequence of video tokens [B, Kv].
        audio_ids: Positions in the full sequence of audio tokens [B, Ka].
    """

    video: Tensor
    audio: Tensor
    video_ids: Tensor
    audio_ids: Tensor

    def __len__(self) -> int:
        return self.video.shape[0]

    def rows(self, index: Tensor | slice) -> "Patches":
        """Return some rows of the batch."""
        return Patches(
            self.video[index], self.audio[index], self.video_ids[index], self.audio_ids[index]
        )


def patchify(images: Tensor, side: int) -> Tensor:
    """Return patches of images, frame-major, then row, then column.

    Args:
        images: Pixels [B, T, C, H, W].
        side: Side of a patch.

    Returns:
        Patches [B, T * (H/side) * (W/side), C, side, side].
    """
    batch, frames, channels, height, width = images.shape
    grid = images.reshape(batch, frames, channels, height // side, side, width // side, side)
    return grid.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, -1, channels, side, side)


def all_patches(video: Tensor, audio: Tensor, config: ModelConfig) -> Patches:
    """Return all patches of video [B, T, 3, S, S] and fbank [B, 1, frames, mels]."""
    v = patchify(video, config.patch)
    a = patchify(audio.unsqueeze(1), config.audio_patch)
    batch = video.shape[0]
    return Patches(
        v,
        a,
        torch.arange(v.shape[1], device=v.device).expand(batch, -1),
        torch.arange(a.shape[1], device=a.device).expand(batch, -1),
    )


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the entries of x [B, L, ...] at index [B, K], as [B, K, ...]."""
    shaped = index.reshape(*index.shape, *([1] * (x.dim() - 2)))
    return x.gather(1, shaped.expand(*index.shape, *x.shape[2:]))


def select_patches(patches: Patches, video_index: Tensor, audio_index: Tensor) -> Patches:
    """Return the patches at index [B, K] of each row, in that order."""
    return Patches(
        take(patches.video, video_index),
        take(patches.audio, audio_index),
        take(patches.video_ids, video_index),
        take(patches.audio_ids, audio_index),
    )


def concat(*parts: Patches) -> Patches:
    """Concatenate batches along their rows."""
    return Patches(
        torch.cat([p.video for p in parts]),
        torch.cat([p.audio for p in parts]),
        torch.cat([p.video_ids for p in parts]),
        torch.cat([p.audio_ids for p in parts]),
    )


@dataclass(frozen=True)
class Order:
    """A random order of each row's patches: the first are shown to the encoder, the others hidden.

    Attributes:
        video: Order of the video patches [B, Kv].
        audio: Order of the audio patches [B, Ka].
    """

    video: Tensor
    audio: Tensor

    def rows(self, index: Tensor | slice) -> "Order":
        """Return the orders of some rows of the batch."""
        return Order(self.video[index], self.audio[index])


def structured_shuffle(ids: Tensor, config: ModelConfig) -> Tensor:
    """Return a random order of each row's audio patches that ends with whole steps or bands.

    The encoder sees the first `audio_visible` patches of the order.

    Args:
        ids: Positions in the full sequence of audio tokens [B, Ka].
        config: The model's shape, with a `mask_mode` other than "unstructured".

    Returns:
        Order [B, Ka].
    """
    c, noise = config, dist.rand(*ids.shape, device=ids.device)
    ratio = c.mask_ratio * (0.7 if c.mask_mode == "both" else 1.0)
    late = torch.zeros_like(ids, dtype=torch.bool)
    if c.mask_mode != "frequency":
        late |= _drawn(ids // c.audio_bands, c.audio_steps, ratio)
    if c.mask_mode != "time":
        late |= _drawn(ids % c.audio_bands, c.audio_bands, ratio)
    return (noise + late).argsort(dim=1)


def _drawn(places: Tensor, count: int, ratio: float) -> Tensor:
    """Return whether each place [B, K] of `count` is among those drawn, a share of them a row."""
    order = shuffle(len(places), count, places.device)
    return (order.argsort(dim=1) < int(count * ratio)).gather(1, places)


def shuffle(batch: int, length: int, device: torch.device) -> Tensor:
    """Return a random order of each row, [B, length]."""
    return dist.rand(batch, length, device=device).argsort(dim=1)
