"""Choose the frames of a clip; decode, crop, resize and normalise them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from avstore.train.data.buffers import SERIAL_VALUES, recycled
from avstore.train.data.spec import FrameChoice

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
# (left, top, right, bottom) in pixels, right and bottom exclusive.
Box = tuple[int, int, int, int]
# Sides of STELLA's training crops as parts of the stored side.
_SCALES = (1.0, 0.875, 0.75)
# Offsets of a crop, in quarters of the free space: corners, centre, edges, quarter points.
_CROP_OFFSETS = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)


def choose_frames(
    choice: FrameChoice,
    stored: int,
    frames: int,
    seconds: float,
    generator: np.random.Generator | None,
    times: NDArray[np.float32] | None = None,
    wanted: Sequence[float] = (),
) -> list[int]:
    """Return the indices of the frames to take, in order of time.

    Args:
        choice: See `BatchSpec.frame_choice`.
        stored: Number of stored frames, evenly spaced over `seconds`.
        frames: Number of frames to take.
        seconds: Duration that the stored frames span.
        generator: Random generator; None for evaluation.
        times: Presentation time of each stored frame in seconds, for choice='times'.
        wanted: Times to take, in seconds, for choice='times'.

    Raises:
        ValueError: If no frame is stored.
    """
    if stored < 1:
        raise ValueError("the clip has no frames")
    if choice in ("window", "middle"):
        return window_frames(stored, frames, seconds, generator if choice == "window" else None)
    if choice == "random":
        return random_frames(stored, frames, generator)
    if choice == "segment":
        return segment_frames(stored, frames, generator)
    if choice == "even":
        return segment_frames(stored, frames, None)
    if choice == "times":
        return nearest_frames(times, stored, seconds, wanted)
    return list(range(stored))


def window_frames(
    stored: int, frames: int, seconds: float, generator: np.random.Generator | None
) -> list[int]:
    """Return `frames` indices one second apart from a random start, as STELLA's released code does.

    Without a generator, the middle window from seconds / 2 - frames // 2: 4 of 80 frames over 10 s
    are {24, 32, 40, 48}. If the clip is too short, the last frame repeats.
    """
    rate = stored / seconds
    if generator is None:
        start = max(0, int((seconds / 2 - frames // 2) * rate))
    else:
        start = int(generator.integers(0, max(1, int((seconds - frames) * rate))))
    return [min(stored - 1, start + int(k * rate)) for k in range(frames)]


def random_frames(stored: int, frames: int, generator: np.random.Generator | None) -> list[int]:
    """Return `frames` sorted indices, without replacement if enough frames are stored."""
    if generator is None:
        return segment_frames(stored, frames, None)
    if frames == 1:
        return [int(generator.integers(stored))]
    chosen = generator.choice(stored, frames, replace=frames > stored)
    return sorted(int(index) for index in chosen)


def segment_frames(stored: int, frames: int, generator: np.random.Generator | None) -> list[int]:
    """Return one frame of each of `frames` equal parts: a random one, or the middle (TSN)."""
    edges = np.arange(frames + 1) * stored / frames
    if generator is None:
        inside = (edges[:-1] + edges[1:]) / 2
    else:
        inside = edges[:-1] + generator.random(frames) * stored / frames
    return [min(stored - 1, int(place)) for place in inside]


def nearest_frames(
    times: NDArray[np.float32] | None, stored: int, seconds: float, wanted: Sequence[float]
) -> list[int]:
    """Return the frame nearest to each wanted second; of two equally near, the earlier."""
    if times is None or len(times) == 0:
        times = (np.arange(stored) * seconds / stored).astype(np.float32)
    gaps = np.abs(times[None, :] - np.asarray(wanted, np.float32)[:, None])
    return [int(index) for index in gaps.argmin(axis=1)]


def frame_size(jpeg: memoryview) -> tuple[int, int]:
    """Return (width, height) of a JPEG from its header.

    Raises:
        ValueError: If the header is damaged.
    """
    height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
    return int(width), int(height)


def crop_box(width: int, height: int, size: int, generator: np.random.Generator | None) -> Box:
    """Return the box of a multi-scale corner crop of a frame, or of the whole frame.

    As in STELLA's released code: one of the 7 pairs of sides at most one scale apart, at one of 13
    offsets; a side within 3 pixels of `size` becomes `size`.

    Args:
        width: Width of the frame, in pixels.
        height: Height of the frame, in pixels.
        size: Side of the square frames that come out.
        generator: Random generator; None takes the whole frame.
    """
    if generator is None:
        return 0, 0, width, height
    base = min(width, height)
    pairs = [(a, b) for a in range(3) for b in range(3) if abs(a - b) <= 1]
    a, b = pairs[int(generator.integers(len(pairs)))]
    across, down = _CROP_OFFSETS[int(generator.integers(len(_CROP_OFFSETS)))]
    w, h = (_snap(int(base * _SCALES[k]), size, base) for k in (a, b))
    left, top = across * ((width - w) // 4), down * ((height - h) // 4)
    return left, top, left + w, top + h


def _snap(side: int, size: int, largest: int) -> int:
    return size if abs(side - size) <= 3 and size <= largest else side


def decode_jpegs(
    jpegs: Sequence[memoryview],
    size: tuple[int, int],
    box: Box,
    out: NDArray[Any],
    normalised: bool,
) -> None:
    """Decode JPEGs, crop them to the box and resize them to `out`.

    Args:
        jpegs: T JPEGs.
        size: (width, height) of the first.
        box: Box in the frames.
        out: uint8 or float32 [T, height, width, 3], to write to; RGB.
        normalised: Whether `out` is float32, normalised by ImageNet's mean and deviation.

    Raises:
        ValueError: If a JPEG is damaged or has another size.
    """
    whole = box == (0, 0, *size) and out.shape[1:3] == size[::-1]
    for row, jpeg in zip(out, jpegs, strict=True):
        target = row if whole and not normalised else None
        pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=target)
        if target is None or pixels.shape != row.shape:
            place_picture(pixels, size, box, row, normalised)


def place_picture(
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    box: Box,
    row: NDArray[Any],
    normalised: bool,
) -> None:
    """Crop a frame to the box and resize it to its place in the batch.

    Args:
        pixels: uint8 [height, width, 3].
        size: (width, height) of the first frame.
        box: Box in the frame.
        row: uint8 or float32 [height, width, 3], to write to.
        normalised: Whether `row` is float32, normalised by ImageNet's mean and deviation.

    Raises:
        ValueError: If the frame has another size than the first, and is not resized.
    """
    if box != (0, 0, *size) or row.shape[:2] != size[::-1]:
        pixels = resize(pixels, box, row.shape[0])
    elif pixels.shape != row.shape:
        raise ValueError(
            f"it has {pixels.shape[1]} x {pixels.shape[0]} pixels, and the clip's first frame "
            f"{size[0]} x {size[1]}"
        )
    if normalised:
        normalise_into(np.ascontiguousarray(pixels), row)
    else:
        row[:] = pixels


def resize(pixels: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """Return the box of a frame [height, width, 3] as uint8 [size, size, 3], bilinear."""
    if (box[2] - box[0], box[3] - box[1]) == (size, size):
        return pixels[box[1] : box[3], box[0] : box[2]]
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.array(image)  # writable, unlike np.asarray of a PIL image


def normalise(pixels: Tensor) -> Tensor:
    """Normalise frames by ImageNet's mean and standard deviation.

    Args:
        pixels: [..., 3, height, width] in [0, 255].

    Returns:
        float32 of the same shape; in memory channels last if `pixels` is.
    """
    last = pixels.movedim(-3, -1)
    if pixels.device.type != "cpu" or not last.is_contiguous() or not pixels.numel():
        scale, shift = (x.to(pixels.device).view(3, 1, 1) for x in _scale_and_shift(1))
        return pixels.float().mul_(scale).add_(shift)
    out = recycled(tuple(last.shape), np.float32)
    shape = (-1, *last.shape[-3:])
    for frame, row in zip(last.reshape(shape).numpy(), out.reshape(shape), strict=True):
        normalise_into(frame, row)
    return torch.from_numpy(out).movedim(-1, -3)


def normalise_into(pixels: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Normalise one frame [height, width, 3] to float32 `out`, a few lines at a time.

    So the second pass finds the lines in the CPU cache, and torch starts no threads.
    """
    height, width, _ = pixels.shape
    scale, shift = _scale_and_shift(width)
    lines = max(1, SERIAL_VALUES // (3 * width))
    source = torch.split(torch.from_numpy(pixels).view(height, 3 * width), lines)
    target = torch.split(torch.from_numpy(out).view(height, 3 * width), lines)
    for before, after in zip(source, target, strict=True):
        torch.addcmul(shift, after.copy_(before), scale, out=after)


@lru_cache(maxsize=16)
def _scale_and_shift(width: int) -> tuple[Tensor, Tensor]:
    """Return the factor and the summand of the normalisation, for a line of `width` pixels."""
    std = torch.tensor(IMAGE_STD)
    return (1 / (255 * std)).repeat(width), (-torch.tensor(IMAGE_MEAN) / std).repeat(width)
