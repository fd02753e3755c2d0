"""Decode AVSBench's segmentation masks, and crop them as the frames are cropped."""

import io
import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avstore.train.data.transforms.frames import Box


def decode(
    content: memoryview, frame: tuple[int, int] | None, box: Box, size: int
) -> tuple[NDArray[np.uint8], int]:
    """Decode a mask, crop it and resize it by the nearest pixel.

    Palette indices and grey values (0: background) are kept; colours are converted by AVSS's
    palette (`classes_of`).

    Args:
        content: PNG file.
        frame: (width, height) of the stored frames; None takes the whole mask.
        box: Crop of the frames, which is applied in proportion.
        size: Side of the result, in pixels.

    Returns:
        uint8 [size, size], and how many of these pixels have an unknown colour.

    Raises:
        ValueError: If the file is damaged, or no palette, grey or RGB image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            cropped = _cropped(image, frame, box, size)
    except (SyntaxError, EOFError, struct.error) as error:  # PIL's for a broken PNG
        raise ValueError(f"the mask is damaged: {error}") from error
    return classes_of(cropped) if cropped.ndim == 3 else (cropped, 0)


def _cropped(
    image: Image.Image, frame: tuple[int, int] | None, box: Box, size: int
) -> NDArray[np.uint8]:
    kinds = {"1": "L", "L": "L", "P": "P", "RGB": "RGB", "RGBA": "RGB"}
    if image.mode not in kinds:
        raise ValueError(f"the mask has mode {image.mode}; palette, grey and RGB are supported")
    converted = image if image.mode == kinds[image.mode] else image.convert(kinds[image.mode])
    if frame is not None:
        across, down = converted.width / frame[0], converted.height / frame[1]
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    else:
        part = (0, 0, converted.width, converted.height)
    return np.array(converted.resize((size, size), Image.Resampling.NEAREST, box=part), np.uint8)


def classes_of(colours: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Convert colours to AVSS's classes, by exact match with its palette.

    Pixels of other colours become background, as in AVSBench's released code. If all are black or
    white, they stay 0 and 255.

    Args:
        colours: uint8 [height, width, 3].

    Returns:
        uint8 [height, width], and how many pixels have an unknown colour.
    """
    if np.isin(colours, (0, 255)).all() and (colours == colours[..., :1]).all():
        return colours[..., 0].copy(), 0
    known = _codes(avss_palette())
    order = np.argsort(known)
    codes = _codes(colours)
    classes = order[np.minimum(np.searchsorted(known[order], codes), len(known) - 1)]
    found = known[classes] == codes
    return np.where(found, classes, 0).astype(np.uint8), int((~found).sum())


@lru_cache(maxsize=1)
def avss_palette() -> NDArray[np.uint8]:
    """Return the colours of background and AVSS's 70 classes, uint8 [71, 3].

    PASCAL VOC's scheme: the bits of the class go to the channels in turn, from the highest bit of
    each down.
    """
    palette = np.zeros((71, 3), np.uint8)
    for number in range(len(palette)):
        for bit in range(8):
            palette[number, bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return palette


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def by_second(
    masks: dict[int, NDArray[np.uint8]], segments: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Stack masks by their second.

    Returns:
        uint8 [segments, size, size], and bool [segments], which seconds have a mask.
    """
    out = np.zeros((segments, size, size), np.uint8)
    known = np.zeros(segments, np.bool_)
    for second, mask in masks.items():
        if second < segments:
            out[second], known[second] = mask, True
    return out, known
