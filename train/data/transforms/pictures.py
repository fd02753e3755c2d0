"""Frames: decode, crop, resize, normalise."""

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
Box = tuple[int, int, int, int]
# Sides of the training crops as parts of the stored side, and how far a pair may differ (spec 2.2).
_SCALES = (1.0, 0.875, 0.75)
# Where a crop may lie, in quarters of the free space: corners, middle, edges, quarter points.
_PLACES = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)


def decode(jpeg: memoryview, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A JPEG as uint8 [height, width, 3], RGB. out: where to write it.

    Raises ValueError where it is damaged, or of another size than `out`.
    """
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=out)
    if out is not None and pixels.shape != out.shape:
        raise ValueError(f"a frame of {pixels.shape[1]} x {pixels.shape[0]} among others")
    return pixels


def jpeg_size(jpeg: memoryview) -> tuple[int, int]:
    """(width, height) of a JPEG, from its header. Raises ValueError where it is damaged."""
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return int(width), int(height)


def crop_box(width: int, height: int, size: int, generator: np.random.Generator | None) -> Box:
    """(left, top, right, bottom) in a frame: multi-scale corner crop, or the whole frame.

    One of the 7 pairs of sides at most one scale apart, at one of 13 places; a side within 3
    pixels of `size` becomes it (STELLA, spec 2.2).
    """
    if generator is None:
        return 0, 0, width, height
    base = min(width, height)
    pairs = [(a, b) for a in range(3) for b in range(3) if abs(a - b) <= 1]
    a, b = pairs[int(generator.integers(len(pairs)))]
    across, down = _PLACES[int(generator.integers(len(_PLACES)))]
    w, h = (_near(int(base * _SCALES[k]), size, base) for k in (a, b))
    left, top = across * ((width - w) // 4), down * ((height - h) // 4)
    return left, top, left + w, top + h


def _near(side: int, size: int, most: int) -> int:
    return size if abs(side - size) <= 3 and size <= most else side


def resize(pixels: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """The box of a frame as uint8 [size, size, 3], bilinear."""
    height, width = pixels.shape[:2]
    if box == (0, 0, width, height) and (width, height) == (size, size):
        return pixels
    if (box[2] - box[0], box[3] - box[1]) == (size, size):
        return pixels[box[1] : box[3], box[0] : box[2]]
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [..., 3, height, width] as float32, by ImageNet's mean and deviation."""
    std = torch.tensor(IMAGE_STD, device=pixels.device)
    scale = (1 / (255 * std)).view(3, 1, 1)
    shift = (-torch.tensor(IMAGE_MEAN, device=pixels.device) / std).view(3, 1, 1)
    return pixels.float().mul_(scale).add_(shift)


def channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [..., height, width, 3] as [..., 3, height, width], where it lies (channels last)."""
    return torch.from_numpy(pixels).movedim(-1, -3)
