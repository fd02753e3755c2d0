"""Frames: decode, crop, resize, normalise."""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from avstore.train.data.buffers import recycled

# Stored and decoded arrays may be read-only, and are only read; torch warns of them once.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
Box = tuple[int, int, int, int]
# So few values torch works on in this thread.
_SERIAL = 32_768
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
    """[..., 3, height, width] in 0 … 255 as float32, by ImageNet's mean and deviation; where it is
    stored channels last, so is what comes out."""
    last = pixels.movedim(-3, -1)
    if pixels.device.type != "cpu" or not last.is_contiguous() or not pixels.numel():
        scale, shift = (x.to(pixels.device).view(3, 1, 1) for x in _scale_and_shift(1))
        return pixels.float().mul_(scale).add_(shift)
    out = recycled(tuple(last.shape), np.float32)
    shape = (-1, *last.shape[-3:])
    for picture, row in zip(last.reshape(shape).numpy(), out.reshape(shape), strict=True):
        normalise_into(picture, row)
    return torch.from_numpy(out).movedim(-1, -3)


def normalise_into(pixels: NDArray[Any], out: NDArray[np.float32]) -> None:
    """A picture [height, width, 3] in 0 … 255 to float32 `out`, by ImageNet's mean and deviation.

    A few lines at a time: the second pass finds them in the cache, and torch starts no threads.
    """
    height, width, _ = pixels.shape
    scale, shift = _scale_and_shift(width)
    lines = max(1, _SERIAL // (3 * width))
    source = torch.split(torch.from_numpy(pixels).view(height, 3 * width), lines)
    target = torch.split(torch.from_numpy(out).view(height, 3 * width), lines)
    for some, end in zip(source, target, strict=True):
        torch.addcmul(shift, end.copy_(some), scale, out=end)


@lru_cache(maxsize=16)
def _scale_and_shift(width: int) -> tuple[Tensor, Tensor]:
    """What pixels are multiplied by, and what is added, for a line of so many of them."""
    std = torch.tensor(IMAGE_STD)
    return (1 / (255 * std)).repeat(width), (-torch.tensor(IMAGE_MEAN) / std).repeat(width)


def channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [..., height, width, 3] as [..., 3, height, width], where it lies (channels last)."""
    return torch.from_numpy(pixels).movedim(-1, -3)
