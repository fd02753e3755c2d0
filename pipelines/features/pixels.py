"""Prepare batches of pictures for pretrained models, on the model's device.

Tensors are typed as Any, so that importing this module does not import torch.
"""

from typing import Any

IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
KINETICS_STATISTICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and standard deviation of RGB in [0, 1]: torchvision, OpenAI's CLIP, torchvision video."""

_Tensor = Any


def to_unit(pictures: _Tensor) -> _Tensor:
    """Convert uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float().div(255.0)


def resize_batch(pictures: _Tensor, height: int, width: int, mode: str, antialias: bool) -> _Tensor:
    """Resize (B, 3, H, W) in [0, 1] to (B, 3, height, width).

    Args:
        pictures: The batch.
        height: Target height in pixels.
        width: Target width in pixels.
        mode: `bilinear` or `bicubic`.
        antialias: Resize as Pillow and torchvision resize a picture: they round and clip to whole
            levels after the pass over the rows and again after the pass over the columns.
            Without it, as torchvision 0.13 resizes a float tensor.
    """
    import torch.nn.functional as F  # noqa: PLC0415 -- heavy

    if pictures.shape[-2:] == (height, width):
        return pictures
    if not antialias:
        return F.interpolate(pictures, (height, width), mode=mode, align_corners=False)
    for size in ((pictures.shape[-2], width), (height, width)):
        resized = F.interpolate(pictures, size, mode=mode, align_corners=False, antialias=True)
        pictures = resized.mul(255.0).round().clamp(0, 255).div(255.0)
    return pictures


def short_side(pictures: _Tensor, size: int, mode: str) -> _Tensor:
    """Resize the shorter side to `size`; the longer side is truncated to a whole number."""
    height, width = pictures.shape[-2:]
    if height <= width:
        return resize_batch(pictures, size, int(size * width / height), mode, antialias=True)
    return resize_batch(pictures, int(size * height / width), size, mode, antialias=True)


def centre_crop(pictures: _Tensor, size: int) -> _Tensor:
    """Crop the middle square, (B, 3, size, size), as torchvision's CenterCrop does."""
    height, width = pictures.shape[-2:]
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return pictures[..., top : top + size, left : left + size]


def normalise_rgb(
    pictures: _Tensor, statistics: tuple[tuple[float, ...], tuple[float, ...]], eps: float = 0.0
) -> _Tensor:
    """Return (x - mean) / (std + eps) per channel of (B, 3, …)."""
    shape = (1, 3) + (1,) * (pictures.dim() - 2)
    mean, std = (pictures.new_tensor(values).reshape(shape) for values in statistics)
    return (pictures - mean) / (std + eps)
