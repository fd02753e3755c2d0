"""Compute label maps of panoramas by a panoptic segmentation network, as AVSA's targets."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avstore.datasets.yt360_panoptic import THINGS
from avstore.manifests.label_maps import IGNORED, pack_maps
from avstore.pipelines.features import pixels
from avstore.pipelines.features.batching import torch_batch_function
from avstore.pipelines.features.extractor import BatchFunction, FeatureError
from avstore.pipelines.features.huggingface import load_model, panoptic_config
from avstore.pipelines.features.panoptic_maps import FEATURE, RATE
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import HubWeights, Weights, WeightsError, WeightsSource

_LABELS = 133
_KINDS = {
    "mask2former": "Mask2FormerForUniversalSegmentation",
    "maskformer": "MaskFormerForInstanceSegmentation",
}


@dataclass(frozen=True)
class PanopticLabels:
    """Compute maps of COCO's 133 panoptic classes, four a second, packed as one array.

    A pixel has the class with the highest score: the sum over the network's masks of the
    probability of the class times that of the mask; 255 if no class reaches `least_score`. Things
    are 0 to 79, stuff 81 to 133, as in YT-360's released maps, whose 80 is any thing.
    AVSA's authors took a Panoptic FPN with ResNet-101 of another library.

    Weights: facebook/mask2former-swin-tiny-coco-panoptic; `--weights FOLDER` takes each
    Mask2Former or MaskFormer of COCO's panoptic classes. Input: the stored video (recipe `avsa`).
    Output: uint8 (n,), packed by `avstore.manifests.label_maps`. Sources: Cheng et al.,
    Masked-attention Mask Transformer, CVPR 2022; Morgado et al., AVSA, NeurIPS 2020.

    Attributes:
        width: Width of the maps, in pixels; they are half as high.
        input_width: Width of the network's input.
        least_score: Least score of a label.
        model: `swin-tiny`, or `tiny` for trials with random weights.
    """

    name: ClassVar[str] = FEATURE
    version: ClassVar[str] = "1"
    reads: ClassVar[tuple[str, ...]] = ("video",)
    bases: ClassVar[tuple[str, ...]] = ("avsa",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weights: ClassVar[WeightsSource | None] = HubWeights(
        "facebook/mask2former-swin-tiny-coco-panoptic"
    )
    batch_size: ClassVar[int] = 4
    dtype: ClassVar[str] = "uint8"

    width: int = 512
    input_width: int = 1024
    least_score: float = 0.5
    model: str = "swin-tiny"

    def __post_init__(self) -> None:
        for name in ("width", "input_width"):
            if (value := getattr(self, name)) < 64 or value % 64:
                raise FeatureError(f"{name}={value} is no multiple of 64")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        return (None,)

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return the pictures of each quarter of a second, uint8 (n, height, width, 3)."""
        count = max(round(clip.video_seconds * RATE), 1)
        return np.stack(clip.pictures([number / RATE for number in range(count)]))

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model and return its batch function."""
        model = load_model(_KINDS[_kind_of(weights)], panoptic_config(self.model), weights)
        if model.config.num_labels != _LABELS:
            raise WeightsError(
                f"{weights.path} has {model.config.num_labels} classes; give weights of COCO's "
                f"{_LABELS} panoptic classes"
            )
        return torch_batch_function(model, device, lambda pictures: self.label(model, pictures))

    def label(self, model: Any, pictures: Any) -> Any:
        """Compute label maps (B, width / 2, width) of uint8 pictures (B, H, W, 3)."""
        import torch  # noqa: PLC0415 -- heavy
        from torch.nn import functional as F  # noqa: PLC0415 -- heavy

        size = (self.input_width // 2, self.input_width)
        ready = pixels.resize_batch(pixels.to_unit(pictures), *size, "bilinear", antialias=True)
        found = model(pixel_values=pixels.normalise_rgb(ready, pixels.IMAGENET_STATISTICS))
        classes = found.class_queries_logits.softmax(-1)[..., :-1]
        out = (self.width // 2, self.width)
        masks = F.interpolate(found.masks_queries_logits, out, mode="bilinear").sigmoid()
        best, labels = torch.einsum("bqc,bqhw->bchw", classes, masks).max(1)
        labels = labels + (labels >= THINGS)
        return torch.where(best < self.least_score, IGNORED, labels)

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the packed maps."""
        return pack_maps(list(outputs.astype(np.uint8)), RATE)


def _kind_of(weights: Weights) -> str:
    """Return which network a folder of weights holds; Mask2Former, if it does not say."""
    config = Path(weights.path or "") / "config.json"
    if not weights.path or not config.is_file():
        return "mask2former"
    try:
        kind = str(json.loads(config.read_text())["model_type"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise WeightsError(f"{config} names no model: {error}") from error
    if kind not in _KINDS:
        raise WeightsError(f"{config} is of a {kind}; give a {' or '.join(_KINDS)}")
    return kind
