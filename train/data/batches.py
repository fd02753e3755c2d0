"""Batches by step: any step of any epoch is made from its number, by any rank and any worker."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from manifests.store import StoreError
from train.data import transforms
from train.data.samples import SampleList, permutation


@dataclass(frozen=True)
class BatchSpec:
    """What a batch holds. batch_size: over all ranks. seconds: the span of the stored frames.

    random: training choices (window, crop, noise and roll); else the middle and no augmentation.
    mean, std: of the unnormalised fbank (VGGSound's published values).
    drop_last: leave out an epoch's last partial batch.
    """

    batch_size: int
    frames: int = 4
    image_size: int = 224
    fbank_frames: int = 1024
    seconds: float = 10.0
    random: bool = True
    noise: bool = True
    mean: float = -5.081
    std: float = 4.4849
    drop_last: bool = False


@dataclass(frozen=True)
class Batch:
    """video float32 [B, T, 3, S, S], audio float32 [B, 1, frames, mels]; labels: ids a sample."""

    video: Tensor
    audio: Tensor
    labels: list[list[int]]
    clip_ids: list[str]
    step: int

    def __len__(self) -> int:
        return len(self.clip_ids)

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            video=self.video.to(device, non_blocking=True),
            audio=self.audio.to(device, non_blocking=True),
        )


def steps_per_epoch(samples: SampleList, spec: BatchSpec) -> int:
    """Batches an epoch, the same on every rank."""
    whole, rest = divmod(len(samples), spec.batch_size)
    return whole if spec.drop_last or not rest else whole + 1


@dataclass(frozen=True)
class Steps(Dataset[Batch]):
    """The batches of one epoch for one rank; item i is step i."""

    samples: SampleList
    spec: BatchSpec
    seed: int
    epoch: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return steps_per_epoch(self.samples, self.spec)

    def __getitem__(self, step: int) -> Batch:
        order = (
            permutation(len(self.samples), self.seed, self.epoch)
            if self.spec.random
            else np.arange(len(self.samples))
        )
        start = step * self.spec.batch_size
        places = range(start, min(start + self.spec.batch_size, len(order)))
        own = places[self.rank :: self.world_size]
        return self._batch(step, [(place, int(order[place])) for place in own])

    def _batch(self, step: int, chosen: list[tuple[int, int]]) -> Batch:
        rows = [self.samples.row(index) for _, index in chosen]
        made = [self._sample(row, place) for (place, _), row in zip(chosen, rows, strict=True)]
        return Batch(
            video=torch.from_numpy(np.stack([video for video, _ in made])),
            audio=torch.from_numpy(np.stack([audio for _, audio in made])),
            labels=[row["label_ids"] or [] for row in rows],
            clip_ids=[row["clip_id"] for row in rows],
            step=step,
        )

    def _sample(
        self, row: dict[str, object], place: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One sample; its random choices depend on (seed, epoch, place) alone."""
        spec = self.spec
        generator = None
        if spec.random:
            key = np.random.SeedSequence([self.seed, self.epoch, place])
            generator = np.random.Generator(np.random.Philox(key))
        count = int(str(row["frame_count"]))
        frames = transforms.window_frames(count, spec.frames, spec.seconds, generator)
        names = [f"f{index:03d}.jpg" for index in frames]
        content = read_members(self.samples, row, [*names, "fbank.npy"])
        box = transforms.crop_box(_side(content[names[0]]), generator)
        video = np.stack(
            [transforms.picture(content[name], box, spec.image_size) for name in names]
        )
        fbank = np.load(io.BytesIO(content["fbank.npy"]))
        audio = transforms.spectrogram(fbank, spec.fbank_frames, spec.mean, spec.std)
        if generator is not None and spec.noise:
            audio = transforms.noise_and_roll(audio, generator)
        return video, audio


def _side(jpeg: bytes) -> int:
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return int(min(height, width))


def read_members(
    samples: SampleList, row: dict[str, object], wanted: list[str]
) -> dict[str, bytes]:
    """Contents of some members of a sample, each by its own byte range.

    Raises StoreError naming the clip, the shard and the offset where one cannot be read whole.
    """
    names = str(row["names"]).split(" ")
    offsets, sizes = list(row["offsets"]), list(row["sizes"])  # type: ignore[call-overload]
    path = samples.root / str(row["shard"])
    found: dict[str, bytes] = {}
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"shard {path} of {row['clip_id']} cannot be opened: {error}") from error
    try:
        for name in wanted:
            if name not in names:
                raise StoreError(f"{row['clip_id']} has no member {name} in {path}")
            at = names.index(name)
            found[name] = os.pread(handle, sizes[at], offsets[at])
            if len(found[name]) != sizes[at]:
                raise StoreError(
                    f"{row['clip_id']}: {path} ends inside member {name} at offset {offsets[at]}; "
                    "run avstore verify"
                )
    finally:
        os.close(handle)
    return found


def batches(
    samples: SampleList,
    spec: BatchSpec,
    *,
    seed: int,
    epoch: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """This rank's batches of an epoch, from `start_step` on; position is that one integer.

    A global batch is the same for every world size and worker count; rank r takes its places r,
    r + world_size, and so on.
    """
    steps = Steps(samples, spec, seed, epoch, rank, world_size)
    loader = DataLoader(
        steps,
        batch_size=None,
        sampler=range(start_step, len(steps)),
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )
    yield from loader
