"""A batch: tensors and what they are of."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from avstore.manifests.shard_reader import BadSample
from avstore.manifests.store import StoreError
from avstore.train.data.device import DamagedFrameError, Jpegs
from avstore.train.data.fbank_finish import FbankFinish
from avstore.train.data.transforms import pictures


@dataclass(frozen=True)
class Batch:
    """One step's samples, or one rank's part of them; B rows.

    video: float32 [B, T, 3, S, S], ImageNet-normalised (uint8 where the spec says so, until `to`).
    audio: float32 [B, 1, frames, mels], normalised (as stored where the spec says so, until `to`).
    labels: as the spec says.
    step, epoch: where in the run. indices: into the sample list. origin: number of the source.
    padded: rows that only fill the batch up. audio_frames, video_frames: how many frames of each
    row are no padding (masks: `audio_mask`, `video_mask`). audio_roll: int64 [B], by how many
    frames the fbank is rolled in time. waveform: float32 [B, samples] in
    [-1, 1]. masks: uint8 [B, segments, S, S]; mask_known: bool [B, segments]; mask_unknown:
    int64 [B], pixels of AVSS's masks whose colour is none of its palette (background here).
    features: derived features, [B, …] each. mixed_with: clip ids of mixup's partners
    (None: not mixed); share: float32 [B], the part of the row's own sample.
    problems: samples that were skipped or replaced.
    """

    video: Tensor
    audio: Tensor
    labels: Tensor | list[list[int]]
    clip_ids: list[str]
    step: int
    epoch: int = 0
    indices: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    origin: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int16))
    padded: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    audio_frames: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    audio_roll: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    video_frames: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    waveform: Tensor | None = None
    masks: Tensor | None = None
    mask_known: Tensor | None = None
    mask_unknown: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    mixed_with: list[str | None] = field(default_factory=list)
    share: Tensor = field(default_factory=lambda: torch.zeros(0))
    problems: tuple[BadSample, ...] = ()
    jpegs: Jpegs | None = None
    normalise_pixels: bool = False
    finish: FbankFinish | None = None

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def audio_mask(self) -> Tensor:
        """bool [B, frames]: True where fbank is no padding, wherever a roll has put it."""
        frames = self.audio.shape[2]
        kept = _mask(self.audio_frames, frames)
        if not len(self.audio_roll):
            return kept
        times = torch.arange(frames, device=kept.device)
        return kept.gather(1, (times - self.audio_roll[:, None]) % frames)

    @property
    def video_mask(self) -> Tensor:
        """bool [B, T]: True where a frame is no padding."""
        return _mask(self.video_frames, self.video.shape[1])

    def to(self, device: torch.device | str) -> "Batch":
        """The same on a device, decoded and normalised there where the spec left it for it."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        features = {name: x.to(device, non_blocking=True) for name, x in self.features.items()}
        video = self._frames(self.jpegs, device) if self.jpegs else moved["video"]
        if self.normalise_pixels:
            video = pictures.normalise(video)
        moved["video"] = video
        if self.finish:
            moved["audio"] = self.finish.apply(moved["audio"])
        done = replace(self, jpegs=None, normalise_pixels=False, finish=None)
        return replace(done, **moved, features=features)

    def _frames(self, jpegs: Jpegs, device: torch.device | str) -> Tensor:
        """Decoded there. Raises StoreError naming the clip of a damaged frame."""
        try:
            return jpegs.decode(device)
        except DamagedFrameError as error:
            raise StoreError(
                f"{self.clip_ids[error.row]}, frame {error.frame} of the {jpegs.frames} chosen, "
                f"cannot be decoded on {device}: {error}; run avstore verify, or decode in the "
                "workers, where a policy can skip or replace it"
            ) from error

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; called by DataLoader(pin_memory=True)."""
        pinned: dict[str, Any] = {
            n: x.pin_memory() for n, x in vars(self).items() if isinstance(x, Tensor)
        }
        features = {name: value.pin_memory() for name, value in self.features.items()}
        return replace(self, **pinned, features=features)


def _mask(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
