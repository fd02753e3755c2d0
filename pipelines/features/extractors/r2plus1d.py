"""R(2+1)D-18 of Kinetics-400: one feature for each of ten runs of eight frames (LLP)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features import pixels
from avstore.pipelines.features.extractor import Batch
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.torch_run import batch_of
from avstore.pipelines.features.weights import Place, UrlPlace, Weights, fit, read_state, seeded


@dataclass(frozen=True)
class R2Plus1D18:
    """(segments, 512) float32: global pooled, all but the last layer; (10, 512) as published.

    frames: taken by linspace over the stored ones, 8 a segment. Each is resized straight to
    112 x 112 without a crop. YapengTian/AVVP-ECCV20 at fde5611, feature extraction.
    """

    name: ClassVar[str] = "r2plus1d18"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[Place | None] = UrlPlace(
        "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth"
    )
    batch_size: ClassVar[int] = 20
    dtype: ClassVar[str] = "float32"

    frames: int = 80
    run: int = 8
    side: int = 112

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.frames // self.run, 512)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        pictures = np.stack(clip.evenly(self.frames))
        return pictures.reshape(-1, self.run, *pictures.shape[1:])

    def load(self, weights: Weights, device: str) -> Batch:
        import torch  # noqa: PLC0415 -- heavy
        from torchvision.models.video import r2plus1d_18  # noqa: PLC0415 -- heavy

        with seeded(weights.seed):
            model = r2plus1d_18()
        if weights.path:
            fit(model, read_state(weights.local))
        model.fc = torch.nn.Identity()

        return batch_of(model, device, lambda runs: model(self.prepare(runs)))

    def prepare(self, runs: Any) -> Any:
        """uint8 (B, run, H, W, 3) to the network's input (B, 3, run, side, side)."""
        flat = pixels.to_unit(runs.flatten(0, 1))
        small = pixels.resize(flat, self.side, self.side, "bilinear", antialias=True)
        ready = pixels.normalise(small, pixels.KINETICS)
        return ready.unflatten(0, runs.shape[:2]).transpose(1, 2)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs
