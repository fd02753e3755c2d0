"""Fbank: pad or cut, mask, normalise, noise and roll."""

import math
import tokenize
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# What NumPy's reader of headers raises, beside ValueError, where one is damaged.
_DAMAGED = (tokenize.TokenError, SyntaxError, TypeError, ArithmeticError, MemoryError)


def load_npy(content: memoryview) -> NDArray[np.generic]:
    """An array of numbers from .npy bytes, without a copy.

    Raises ValueError where it is no such file, or longer or shorter than it says.
    """
    shape, fortran, dtype, start = npy_header(content)
    count = math.prod(shape)
    if min(shape, default=1) < 0 or start + count * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes do not hold an array {shape} of {dtype}")
    array = np.frombuffer(content, dtype, count, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")


def npy_header(content: memoryview) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, order and type of an .npy file, and where its values begin. Raises ValueError."""
    if bytes(content[:6]) != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("this is no .npy file")
    wide = content[6] > 1
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = (12 if wide else 10) + length
    shape, fortran, dtype = _npy_header(bytes(content[:start]))
    return shape, fortran, dtype, start


@lru_cache(maxsize=4096)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, order and type. All but numbers is refused (objects would be pickles)."""
    import io  # noqa: PLC0415

    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)  # type: ignore[no-untyped-call]
    except _DAMAGED as error:
        raise ValueError(f"the .npy header is damaged: {error}") from error
    if dtype.kind not in "fiub":
        raise ValueError(f"the array holds {dtype} and no numbers")
    return shape, fortran, dtype


def fit(
    fbank: NDArray[np.generic], frames: int, out: NDArray[np.floating[Any]] | None = None
) -> NDArray[Any]:
    """Fbank [n, mels] as float32 [frames, mels]: cut, or zeros at the end. out: where to write it
    instead, in its own type.

    The zeros come before the normalisation, as published (spec 2.1). Raises ValueError for
    another shape.
    """
    if fbank.ndim != 2 or not fbank.shape[1]:
        raise ValueError(f"an fbank is [frames, mels], and this is {list(fbank.shape)}")
    fitted = np.empty((frames, fbank.shape[1]), np.float32) if out is None else out
    kept = min(frames, len(fbank))
    fitted[:kept] = fbank[:kept]
    fitted[kept:] = 0
    return fitted


@dataclass(frozen=True, slots=True)
class FbankChoices:
    """What is drawn for one fbank. bins, frames: first and end of what is blanked; strength, seed:
    of the noise; roll: by so many frames."""

    bins: tuple[int, int] = (0, 0)
    frames: tuple[int, int] = (0, 0)
    strength: float = 0.0
    roll: int = 0
    seed: int = 0


def spec_augment(
    fbank: NDArray[np.float32], freq_mask: int, time_mask: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Zero one band of bins and one span of frames of [frames, mels], in place.

    Each is as long as an integer drawn from 0 to its limit, exclusive (as torchaudio's masking
    with its default of one mask), and lies anywhere. Before normalisation, as published.
    """
    return blank(fbank, mask_choices(fbank.shape, freq_mask, time_mask, generator))


def mask_choices(
    shape: tuple[int, ...], freq_mask: int, time_mask: int, generator: np.random.Generator
) -> FbankChoices:
    """What `spec_augment` zeroes in an fbank [frames, mels] of this shape."""
    frames, mels = shape
    return FbankChoices(_span(mels, freq_mask, generator), _span(frames, time_mask, generator))


def blank(fbank: NDArray[np.float32], choices: FbankChoices) -> NDArray[np.float32]:
    """Zero the chosen bins and frames of [frames, mels], in place."""
    fbank[:, slice(*choices.bins)] = 0
    fbank[slice(*choices.frames)] = 0
    return fbank


def _span(length: int, limit: int, generator: np.random.Generator) -> tuple[int, int]:
    if limit == 0:
        return 0, 0
    wide = generator.random() * min(limit, length)
    low = generator.random() * (length - wide)
    return int(low), int(low) + int(wide)


def normalise(
    fbank: NDArray[np.float32], mean: float, std: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(fbank - mean) / std, in place; out: where to write it instead (`fbank` is used up)."""
    fbank -= np.float32(mean)
    done: NDArray[np.float32] = np.divide(fbank, np.float32(std), out=fbank if out is None else out)
    return done


def noise_and_roll(
    fbank: NDArray[np.float32],
    choices: FbankChoices,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Uniform noise of the chosen strength, and the chosen roll in time, of [frames, mels].

    out: where to write it, not over `fbank`. The noise's numbers are SFC64's, by the chosen seed:
    there are many of them, and it is faster.
    """
    noise = np.random.Generator(np.random.SFC64(choices.seed)).random(fbank.shape, np.float32)
    noise *= np.float32(choices.strength)
    noise += fbank
    out = np.empty_like(noise) if out is None else out
    shift = choices.roll % len(fbank)
    out[shift:] = noise[: len(fbank) - shift]
    out[:shift] = noise[len(fbank) - shift :]
    return out


def noise_choices(
    choices: FbankChoices, frames: int, generator: np.random.Generator, roll: int | None = None
) -> FbankChoices:
    """The choices with a strength up to 0.1, a roll of `frames`, and the noise's seed.

    roll: by an integer in [-roll, roll); None: [-frames, frames) (spec 2.1; UAVM has 10).
    """
    strength = generator.random() / 10
    most = frames if roll is None else roll
    shift = int(generator.integers(-most, most)) if most else 0
    return replace(choices, strength=strength, roll=shift, seed=int(generator.integers(1 << 62)))
