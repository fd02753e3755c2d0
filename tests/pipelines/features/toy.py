"""An extractor without a model, for tests of everything around one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Place, Weights


@dataclass(frozen=True)
class MeanColour:
    """(3,) float32: the clip's mean colour, times `scale`."""

    name: ClassVar[str] = "mean-colour"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[Place | None] = None
    batch_size: ClassVar[int] = 5
    shape: ClassVar[tuple[int | None, ...]] = (3,)
    dtype: ClassVar[str] = "float32"

    scale: float = 1.0

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.frames())

    def load(self, weights: Weights, device: str) -> Batch:
        return lambda pictures: pictures.mean((1, 2)) * self.scale

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs.mean(0).astype(np.float32)


@dataclass(frozen=True)
class LabelCount:
    """(1,) int64: how many labels a clip has, and a sound it read."""

    name: ClassVar[str] = "label-count"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("audio", "labels")
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    weights: ClassVar[Place | None] = None
    batch_size: ClassVar[int] = 5
    shape: ClassVar[tuple[int | None, ...]] = (1,)
    dtype: ClassVar[str] = "int64"

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return clip.audio()[None]

    def load(self, weights: Weights, device: str) -> Batch:
        return lambda waves: waves.mean(1)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return np.array([len(clip.labels or ())])


@dataclass(frozen=True)
class Fragile(MeanColour):
    """Fails at one clip."""

    name: ClassVar[str] = "fragile"

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        if clip.clip_id == "toy/k00001":
            return np.full(3, np.nan, np.float32)
        return super().value(outputs, clip)
