"""Define extractors without a model, to test everything around the model."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsSource


@dataclass(frozen=True)
class MeanColour:
    """Compute the clip's mean colour times `scale`, float32 (3,)."""

    name: ClassVar[str] = "mean-colour"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[WeightsSource | None] = None
    batch_size: ClassVar[int] = 5
    shape: ClassVar[tuple[int | None, ...]] = (3,)
    dtype: ClassVar[str] = "float32"

    scale: float = 1.0

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> BatchFunction:
        return lambda pictures: pictures.mean((1, 2)) * self.scale

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs.mean(0).astype(np.float32)


@dataclass(frozen=True)
class LabelCount:
    """Count a clip's labels, int64 (1,); also reads its audio."""

    name: ClassVar[str] = "label-count"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio", "labels")
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[WeightsSource | None] = None
    batch_size: ClassVar[int] = 5
    shape: ClassVar[tuple[int | None, ...]] = (1,)
    dtype: ClassVar[str] = "int64"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return clip.waveform()[None]

    def load(self, weights: Weights, device: str) -> BatchFunction:
        return lambda waves: waves.mean(1)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return np.array([len(clip.labels or ())])


@dataclass(frozen=True)
class Fragile(MeanColour):
    """Give values that are not finite for one clip."""

    name: ClassVar[str] = "fragile"

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        if clip.clip_id == "toy/k00001":
            return np.full(3, np.nan, np.float32)
        return super().value(outputs, clip)


@dataclass(frozen=True)
class BatchDependent(MeanColour):
    """Give values that show which items shared a batch, as a model's last digits may."""

    name: ClassVar[str] = "batch-dependent"

    def load(self, weights: Weights, device: str) -> BatchFunction:
        def run(pictures: NDArray[Any]) -> NDArray[Any]:
            means = pictures.mean((1, 2))
            return means + means.mean(0)

        return run
