"""ResNet-152 of ImageNet: one pooled feature a frame (LLP)."""

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
class ResNet152:
    """(frames, 2048) float32: the last layer replaced by identity; (80, 2048) as published.

    frames: taken by linspace over the stored ones. Short side 256, centre crop 224. Upstream
    (YapengTian/AVVP-ECCV20 at fde5611) took the weights from `pretrainedmodels`, whose file is
    torchvision's IMAGENET1K_V1 under an older name.
    """

    name: ClassVar[str] = "resnet152"
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("frames",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchvision")
    weights: ClassVar[Place | None] = UrlPlace(
        "https://download.pytorch.org/models/resnet152-394f9c45.pth"
    )
    batch_size: ClassVar[int] = 80
    dtype: ClassVar[str] = "float32"

    frames: int = 80

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.frames, 2048)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        return np.stack(clip.evenly(self.frames))

    def load(self, weights: Weights, device: str) -> Batch:
        import torch  # noqa: PLC0415 -- heavy
        from torchvision.models import resnet152  # noqa: PLC0415 -- heavy

        with seeded(weights.seed):
            model = resnet152()
        if weights.path:
            fit(model, read_state(weights.local))
        model.fc = torch.nn.Identity()
        return batch_of(model, device, lambda pictures: model(prepare(pictures)))

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        return outputs


def prepare(pictures: Any) -> Any:
    """uint8 (B, H, W, 3) to the network's input (B, 3, 224, 224)."""
    small = pixels.short_side(pixels.to_unit(pictures), 256, "bilinear")
    return pixels.normalise(pixels.centre_crop(small, 224), pixels.IMAGENET)
