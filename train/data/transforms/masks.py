"""AVSBench's masks: decoded, and cropped as the frames are."""

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from train.data.transforms.pictures import Box


def decode(
    content: memoryview, frame: tuple[int, int] | None, box: Box, size: int
) -> NDArray[np.uint8]:
    """A mask PNG as uint8 [size, size]: palette indices, or grey values (0: background).

    frame, box: (width, height) of the stored frames and their crop, which is applied here in
    proportion; None takes the whole mask. Nearest pixel. Raises ValueError for colours, of which
    only the dataset's palette says what they mean: read those with `raw_samples`.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _cropped(image, frame, box, size)
    except (SyntaxError, EOFError, struct.error) as error:  # so PIL says that a PNG is broken
        raise ValueError(f"the mask is damaged: {error}") from error


def _cropped(
    image: Image.Image, frame: tuple[int, int] | None, box: Box, size: int
) -> NDArray[np.uint8]:
    if image.mode not in ("1", "L", "P"):
        raise ValueError(f"a mask of mode {image.mode}; wanted are palette or grey images")
    whole = image.convert("L") if image.mode == "1" else image
    if frame is not None:
        across, down = whole.width / frame[0], whole.height / frame[1]
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    else:
        part = (0, 0, whole.width, whole.height)
    return np.array(whole.resize((size, size), Image.Resampling.NEAREST, box=part), np.uint8)


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
