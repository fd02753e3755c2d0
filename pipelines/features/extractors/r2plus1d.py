"""Compute R(2+1)D-18 features of runs of eight frames, as published for LLP."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features import pixels
from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.checkpoint import load_state, read_state, seeded
from avstore.pipelines.features.extractor import BatchFunction
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import UrlWeights, Weights, WeightsSource


@dataclass(frozen=True)
class R2Plus1D18:
    """Compute R(2+1)D-18's pooled features of consecutive runs of frames.

    Each frame is resized to a square without a crop.

    Weights: torchvision's R(2+1)D-18 of Kinetics-400. Input: stored frames of native size
    (recipe `valor`: 8 per second; `valor_published`: the released script's 82). Output: float32
    (frames / run, 512); (10, 512) as published. Source: Tian et al., LLP, ECCV 2020;
    YapengTian/AVVP-ECCV20 at fde5611, feature extraction.

    Attributes:
        frames: Number of frames, taken evenly by index of the stored ones.
        run: Frames per output row.
        side: Width and height of the model's input, in pixels.
    """

    name: ClassVar[str] = "r2plus1d18"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[WeightsSource | None] = UrlWeights(
        "https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth"
    )
    batch_size: ClassVar[int] = 20
    dtype: ClassVar[str] = "float32"

    frames: int = 80
    run: int = 8
    side: int = 112

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (self.frames // self.run, 512)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return runs of frames, uint8 (n, run, height, width, 3)."""
        pictures = np.stack(clip.evenly(self.frames))
        return pictures.reshape(-1, self.run, *pictures.shape[1:])

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        import torch  # noqa: PLC0415 -- heavy
        from torchvision.models.video import r2plus1d_18  # noqa: PLC0415 -- heavy

        with seeded(weights.seed):
            model = r2plus1d_18()
        if weights.path:
            load_state(model, read_state(weights.local))
        model.fc = torch.nn.Identity()

        return torch_batch_function(model, device, lambda runs: model(self.prepare(runs)))

    def prepare(self, runs: Any) -> Any:
        """Convert uint8 (B, run, H, W, 3) to the model's input (B, 3, run, side, side)."""
        flat = pixels.to_unit(runs.flatten(0, 1))
        small = pixels.resize_batch(flat, self.side, self.side, "bilinear", antialias=True)
        ready = pixels.normalise_rgb(small, pixels.KINETICS_STATISTICS)
        return ready.unflatten(0, runs.shape[:2]).transpose(1, 2)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows as the clip's value."""
        return outputs
