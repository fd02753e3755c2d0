"""AVSBench's masks: decoded, and cropped as the frames are."""

import io
import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avstore.train.data.transforms.pictures import Box


def decode(
    content: memoryview, frame: tuple[int, int] | None, box: Box, size: int
) -> tuple[NDArray[np.uint8], int]:
    """A mask PNG as uint8 [size, size], and how many of these pixels have an unknown colour.

    Palette indices or grey values (0: background) as they are; colours by AVSS's palette, unknown
    ones as background (`classes_of`). frame, box: (width, height) of the stored frames and their
    crop, which is applied here in proportion; None takes the whole mask. Nearest pixel.
    Raises ValueError for a damaged file.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            cropped = _cropped(image, frame, box, size)
    except (SyntaxError, EOFError, struct.error) as error:  # so PIL says that a PNG is broken
        raise ValueError(f"the mask is damaged: {error}") from error
    return classes_of(cropped) if cropped.ndim == 3 else (cropped, 0)


def _cropped(
    image: Image.Image, frame: tuple[int, int] | None, box: Box, size: int
) -> NDArray[np.uint8]:
    kinds = {"1": "L", "L": "L", "P": "P", "RGB": "RGB", "RGBA": "RGB"}
    if image.mode not in kinds:
        raise ValueError(f"a mask of mode {image.mode}; wanted are palette, grey or RGB images")
    whole = image if image.mode == kinds[image.mode] else image.convert(kinds[image.mode])
    if frame is not None:
        across, down = whole.width / frame[0], whole.height / frame[1]
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    else:
        part = (0, 0, whole.width, whole.height)
    return np.array(whole.resize((size, size), Image.Resampling.NEAREST, box=part), np.uint8)


def classes_of(colours: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """AVSS's classes of uint8 [height, width, 3], by exact match with its palette, and how many
    pixels match none (they become background, as in the published code). Black and white alone
    stay 0 and 255. (avs spec, AVSS.)"""
    if np.isin(colours, (0, 255)).all() and (colours == colours[..., :1]).all():
        return colours[..., 0].copy(), 0
    known = _codes(avss_palette())
    order = np.argsort(known)
    codes = _codes(colours)
    places = order[np.minimum(np.searchsorted(known[order], codes), len(known) - 1)]
    found = known[places] == codes
    return np.where(found, places, 0).astype(np.uint8), int((~found).sum())


@lru_cache(maxsize=1)
def avss_palette() -> NDArray[np.uint8]:
    """uint8 [71, 3]: colour of background and 70 classes, by PASCAL VOC's bit scheme: the bits of
    the class go to the channels in turn, from the highest bit of each down."""
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
    """uint8 [segments, size, size] and which of the seconds have a mask, bool [segments]."""
    out = np.zeros((segments, size, size), np.uint8)
    known = np.zeros(segments, np.bool_)
    for second, mask in masks.items():
        if second < segments:
            out[second], known[second] = mask, True
    return out, known
