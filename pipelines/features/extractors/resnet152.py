"""Compute ResNet-152 features of frames, as published for LLP."""

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
class ResNet152:
    """Compute ResNet-152's pooled features, the last layer replaced by identity.

    Frames are resized to a short side of 256 and cropped to the central 224 x 224.

    Weights: torchvision's IMAGENET1K_V1, the file that upstream takes from `pretrainedmodels` under
    an older name. Input: stored frames of native size (recipe `valor`: 8 per second). Output:
    float32 (frames, 2048), at least 0; (80, 2048) as published. Source: Tian et al., LLP, ECCV
    2020; YapengTian/AVVP-ECCV20 at fde5611.

    Attributes:
        frames: Number of frames, taken evenly by index of the stored ones.
    """

    name: ClassVar[str] = "resnet152"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    bases: ClassVar[tuple[str, ...]] = ("valor", "valor_published")
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[WeightsSource | None] = UrlWeights(
        "https://download.pytorch.org/models/resnet152-394f9c45.pth"
    )
    batch_size: ClassVar[int] = 80
    dtype: ClassVar[str] = "float32"

    frames: int = 80

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (self.frames, 2048)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the selected frames, uint8 (frames, height, width, 3)."""
        return np.stack(clip.evenly(self.frames))

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        import torch  # noqa: PLC0415 -- heavy
        from torchvision.models import resnet152  # noqa: PLC0415 -- heavy

        with seeded(weights.seed):
            model = resnet152()
        if weights.path:
            load_state(model, read_state(weights.local))
        model.fc = torch.nn.Identity()
        return torch_batch_function(model, device, lambda pictures: model(prepare_resnet(pictures)))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the rows as the clip's value."""
        return outputs


def prepare_resnet(pictures: Any) -> Any:
    """Convert uint8 (B, H, W, 3) to the model's input (B, 3, 224, 224)."""
    small = pixels.short_side(pixels.to_unit(pictures), 256, "bilinear")
    return pixels.normalise_rgb(pixels.centre_crop(small, 224), pixels.IMAGENET_STATISTICS)
