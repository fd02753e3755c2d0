"""What is decided at load time: small pure functions from stored facts to tensors."""

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
# Sides of the training crops as parts of the stored side, and how far a pair may differ (spec 2.2).
_SCALES = (1.0, 0.875, 0.75)


def window_frames(
    stored: int, frames: int, seconds: float, generator: np.random.Generator | None
) -> list[int]:
    """Indices of `frames` stored frames one second apart (STELLA, spec 2.2).

    stored: frames of the clip, evenly over `seconds`. generator: a random start; None: the middle
    window, from 5 - frames // 2 seconds.
    """
    rate = stored / seconds
    if generator is None:
        start = int((seconds / 2 - frames // 2) * rate)
    else:
        start = int(generator.integers(0, max(1, int((seconds - frames) * rate))))
    return [min(stored - 1, start + int(k * rate)) for k in range(frames)]


def crop_box(side: int, generator: np.random.Generator | None) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in a stored frame: multi-scale corner crop, or the whole frame.

    One of 7 pairs of sides at most one scale apart, at one of 13 places (spec 2.2).
    """
    if generator is None:
        return 0, 0, side, side
    pairs = [(a, b) for a in range(3) for b in range(3) if abs(a - b) <= 1]
    a, b = pairs[int(generator.integers(len(pairs)))]
    width, height = int(side * _SCALES[a]), int(side * _SCALES[b])
    x, y = (side - width) // 4, (side - height) // 4
    places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0)]
    places += [(1, 1), (3, 1), (1, 3), (3, 3)]
    across, down = places[int(generator.integers(len(places)))]
    left, top = across * x, down * y
    return left, top, left + width, top + height


def picture(jpeg: bytes, box: tuple[int, int, int, int], size: int) -> NDArray[np.float32]:
    """A stored frame as float32 [3, size, size], ImageNet-normalised."""
    pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    values = (np.asarray(image, np.float32) / 255 - IMAGE_MEAN) / IMAGE_STD
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def spectrogram(
    fbank: NDArray[np.float16], frames: int, mean: float, std: float
) -> NDArray[np.float32]:
    """Stored fbank [n, mels] as float32 [1, frames, mels]: zeros at the end, then normalised.

    The zeros come before the normalisation, as published (spec 2.1).
    """
    padded = np.zeros((frames, fbank.shape[1]), np.float32)
    kept = min(frames, len(fbank))
    padded[:kept] = fbank[:kept]
    return ((padded - mean) / std)[None]


def noise_and_roll(
    audio: NDArray[np.float32], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Uniform noise of random strength up to 0.1, and a random roll in time (spec 2.1)."""
    strength = np.float32(generator.random() / 10)
    noisy = audio + generator.random(audio.shape, np.float32) * strength
    shift = int(generator.integers(-audio.shape[1], audio.shape[1]))
    return np.roll(noisy, shift, axis=1)
