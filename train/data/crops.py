"""Crops of moving pictures of any size, for `BatchSpec(transform=…)`.

A clip's frames are cropped alike and resized by bilinear interpolation over the pixels that a new
one covers, as Pillow and torchvision do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avstore.manifests.store import StoreError
from avstore.train.data.setting_checks import require_at_least

__all__ = ["CentreCrop", "RandomResizedCrop"]

_TRIES = 10
# (left, top, width, height), in pixels.
_Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A random part of the picture, resized to a square: of random area and aspect.

    If ten draws do not fit into the picture, the middle of it, as wide as `aspect` allows.

    Attributes:
        size: Side of the square, in pixels.
        area: Range of the part's area, as part of the picture's.
        aspect: Range of its width to its height; log-uniform.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> spec = BatchSpec(4, read=("frames",), image_size=None, transform=RandomResizedCrop(112))
    """

    size: int = 112
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        require_at_least(self, 1, "size")
        for name, most in (("area", 1.0), ("aspect", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most or high == math.inf:
                raise ValueError(f"{name}={(low, high)} is no range of positive numbers")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with its frames cropped, [T, size, size, 3]."""
        frames = _frames(sample, type(self).__name__)
        height, width = frames.shape[1:3]
        box = self.draw(width, height, generator)
        return {**sample, "frames": _resized(frames, box, self.size, self.size)}

    def draw(self, width: int, height: int, generator: np.random.Generator) -> _Box:
        """Return a random part of a picture, in pixels: left, top, width, height."""
        low, high = (math.log(value) for value in self.aspect)
        for _ in range(_TRIES):
            area = generator.uniform(*self.area) * width * height
            ratio = math.exp(generator.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = int(generator.integers(width - w, endpoint=True))
                return left, int(generator.integers(height - h, endpoint=True)), w, h
        narrow, wide = self.aspect
        w, h = min(width, round(height * wide)), min(height, round(width / narrow))
        return (width - w) // 2, (height - h) // 2, w, h


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The picture resized by its shorter side, and the square in its middle.

    Attributes:
        size: Side of the square, in pixels.
        shorter: Shorter side of the resized picture, in pixels.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> spec = BatchSpec(
        ...     4, read=("frames",), image_size=None, random=False, transform=CentreCrop(112, 128)
        ... )
    """

    size: int = 112
    shorter: int = 128

    def __post_init__(self) -> None:
        require_at_least(self, 1, "size", "shorter")
        if self.size > self.shorter:
            raise ValueError(f"size={self.size} is more than shorter={self.shorter}")

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample with its frames cropped, [T, size, size, 3]."""
        frames = _frames(sample, type(self).__name__)
        height, width = frames.shape[1:3]
        # Whole pixels, rounded down, as in the released code of AVSA.
        scale = self.shorter / min(width, height)
        w = self.shorter if width < height else int(width * scale)
        h = self.shorter if height <= width else int(height * scale)
        resized = _resized(frames, (0, 0, width, height), w, h)
        left, top = round((w - self.size) / 2), round((h - self.size) / 2)
        own = resized[:, top : top + self.size, left : left + self.size]
        return {**sample, "frames": np.ascontiguousarray(own)}


def _frames(sample: Mapping[str, Any], transform: str) -> NDArray[np.uint8]:
    if "frames" not in sample:
        raise StoreError(f"{transform} needs 'frames' in BatchSpec(read=…)")
    frames: NDArray[np.uint8] = sample["frames"]
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise StoreError(
            f"{transform} takes frames uint8 [frames, height, width, 3], and was given "
            f"{frames.dtype} {list(frames.shape)}: use it before other transforms"
        )
    return frames


def _resized(frames: NDArray[np.uint8], box: _Box, width: int, height: int) -> NDArray[np.uint8]:
    """Return a part of each frame, resized."""
    left, top, w, h = box
    edges = (left, top, left + w, top + h)
    bilinear = Image.Resampling.BILINEAR
    parts = [Image.fromarray(own).crop(edges).resize((width, height), bilinear) for own in frames]
    return np.stack([np.asarray(part) for part in parts])
