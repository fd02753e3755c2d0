"""UAVM's training in its straightforward form, to compare the trainer's with.

As one writes it from the paper and its published settings: one .npy file a clip and modality, read
by a map-style dataset; normalised, mixed and rolled clip by clip; a stock DataLoader; attention
written out; both modalities loaded though a step trains one; float32.
"""

import csv
import random
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from avstore.datasets.vggsound import vocabulary
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from benchmarks.step_timing import Stopwatch, synchronise, write_attention_out

AUDIO, VIDEO = "audio_feat_convnext_2", "video_feat_convnext_2"
ROWS, SMOOTHING, MIXUP, BETA, ROLL = 30, 0.1, 0.5, 10.0, 15

Item = tuple[Tensor, Tensor, Tensor]


class PlainClips(Dataset[Item]):
    """Clips as audio feature, video feature and target.

    Args:
        folder: Holds vggsound.csv and a folder of .npy files for each modality.
        augmented: Whether clips are mixed, rolled and smoothed.
    """

    def __init__(self, folder: Path, augmented: bool = True) -> None:
        index = {label.label: label.label_id for label in vocabulary()}
        with (folder / "vggsound.csv").open() as listed:
            rows = [row for row in csv.reader(listed) if row[3] == "train"]
        self.names = [f"{name}_{int(start):06d}" for name, start, _, _ in rows]
        self.labels = [index[label] for _, _, label, _ in rows]
        self.classes = len(index)
        self.folder, self.augmented = folder, augmented

    def __len__(self) -> int:
        return len(self.names)

    def weights(self) -> list[float]:
        """Return the weight of each clip, inverse to the clips of its class."""
        count = Counter(self.labels)
        return [1000 / (count[label] + 0.01) for label in self.labels]

    def __getitem__(self, index: int) -> Item:
        audio, video = self.features(index)
        if not self.augmented:
            target = np.zeros(self.classes, np.float32)
            target[self.labels[index]] = 1
            return torch.from_numpy(audio), torch.from_numpy(video), torch.from_numpy(target)
        target = np.full(self.classes, SMOOTHING / self.classes, np.float32)
        if random.random() < MIXUP:
            other = random.randrange(len(self))
            share = np.random.beta(BETA, BETA)
            audio2, video2 = self.features(other)
            audio = share * audio + (1 - share) * audio2
            video = share * video + (1 - share) * video2
            target[self.labels[index]] += share * (1 - SMOOTHING)
            target[self.labels[other]] += (1 - share) * (1 - SMOOTHING)
        else:
            target[self.labels[index]] = 1 - SMOOTHING
        shift = random.randrange(-ROLL, ROLL)
        audio, video = np.roll(audio, shift, axis=0), np.roll(video, shift, axis=0)
        return (
            torch.from_numpy(audio).float(),
            torch.from_numpy(video).float(),
            torch.from_numpy(target),
        )

    def features(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both features, each row with norm 1."""
        return self._feature(AUDIO, index), self._feature(VIDEO, index)

    def _feature(self, kind: str, index: int) -> NDArray[np.float32]:
        value = np.load(self.folder / kind / f"{self.names[index]}.npy").astype(np.float32)
        if len(value) < ROWS:
            value = np.pad(value, ((0, ROWS - len(value)), (0, 0)))
        value = value[:ROWS]
        norm = np.linalg.norm(value, axis=1, keepdims=True)
        norm[norm == 0] = 1
        return value / norm  # type: ignore[no-any-return]


def plain_model(config: UAVMConfig) -> UAVM:
    """Return the model, with attention written out."""
    model = UAVM(config)
    write_attention_out(model)
    return model


def plain_step(
    model: UAVM, optimizer: torch.optim.Optimizer, batch: list[Tensor], modality: str
) -> float:
    """Train on the modality of the step and return the loss."""
    audio, video, target = batch
    x = audio if modality == "audio" else video
    optimizer.zero_grad()
    loss = F.cross_entropy(model(**{modality: x}), target)
    loss.backward()
    optimizer.step()
    return loss.item()


def plain_loader(
    folder: Path, batch: int, steps: int, workers: int, device: torch.device
) -> "DataLoader[list[Tensor]]":
    """Return the loader of at least that many batches, drawn by class-balancing weights."""
    clips = PlainClips(folder)
    return DataLoader(
        clips,  # type: ignore[arg-type]
        batch,
        sampler=WeightedRandomSampler(clips.weights(), max(batch * steps, len(clips))),
        num_workers=workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
    )


def train_plainly(
    config: UAVMConfig, folder: Path, batch: int, steps: int, workers: int, device: torch.device
) -> Stopwatch:
    """Train for some steps, by epochs, and return their times."""
    model = plain_model(config).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=5e-5, betas=(0.95, 0.999), weight_decay=5e-7
    )
    watch = Stopwatch()
    loaded = watch.meter.timed(plain_loader(folder, batch, steps, workers, device))
    for number, own in zip(range(steps), loaded, strict=False):
        modality = "audio" if random.random() < 0.5 else "video"
        moved = [x.to(device, non_blocking=True) for x in own]
        loss = plain_step(model, optimizer, moved, modality)
        synchronise(device)
        watch.log({"loss": loss}, number)
    return watch
