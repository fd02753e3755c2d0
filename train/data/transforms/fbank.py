"""Cut or pad, mask, normalise, perturb and roll the fbank (log-mel filter bank) of one sample."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.buffers import scratch, widen
from avstore.train.data.transforms.features import roll


@dataclass(frozen=True, slots=True)
class FbankChoices:
    """The random choices for one fbank; ranges are half-open.

    Attributes:
        bins: Mel bins that SpecAugment masks.
        frames: Frames that SpecAugment masks.
        strength: Strength of the noise.
        roll: Roll in time, in frames.
        seed: Seed of the noise.
    """

    bins: tuple[int, int] = (0, 0)
    frames: tuple[int, int] = (0, 0)
    strength: float = 0.0
    roll: int = 0
    seed: int = 0


def fit(
    fbank: NDArray[np.generic], frames: int, out: NDArray[np.floating[Any]] | None = None
) -> NDArray[Any]:
    """Cut an fbank or pad it with zeros; before normalisation, as in CAV-MAE's released code.

    Args:
        fbank: [n, mels].
        frames: Frames of the result.
        out: [frames, mels] to write to; None for a new float32 array.

    Raises:
        ValueError: If the fbank has another shape.
    """
    if fbank.ndim != 2 or not fbank.shape[1]:
        raise ValueError(f"an fbank has the shape [frames, mels], and this has {list(fbank.shape)}")
    fitted = np.empty((frames, fbank.shape[1]), np.float32) if out is None else out
    kept = min(frames, len(fbank))
    fitted[:kept] = fbank[:kept]
    fitted[kept:] = 0
    return fitted


def fit_in_scratch(fbank: NDArray[np.generic], frames: int) -> NDArray[np.float32]:
    """Return `fit`'s float32 result in this thread's scratch memory, valid until the next call."""
    if fbank.dtype != np.float16 or fbank.ndim != 2 or not fbank.shape[1]:
        return fit(fbank, frames)
    wide = scratch((frames, fbank.shape[1]))
    kept = min(frames, len(fbank))
    widen(fbank[:kept], wide[:kept])
    wide[kept:] = 0
    return wide


def mask_choices(
    shape: tuple[int, ...], freq_mask: int, time_mask: int, generator: np.random.Generator
) -> FbankChoices:
    """Draw SpecAugment's band of mel bins and span of frames, for an fbank [frames, mels].

    The length of each is drawn from the integers [0, limit), its place uniformly: torchaudio's
    masking with one mask per axis.
    """
    frames, mels = shape
    return FbankChoices(_span(mels, freq_mask, generator), _span(frames, time_mask, generator))


def _span(length: int, limit: int, generator: np.random.Generator) -> tuple[int, int]:
    if limit == 0:
        return 0, 0
    wide = generator.random() * min(limit, length)
    low = generator.random() * (length - wide)
    return int(low), int(low) + int(wide)


def mask_and_normalise(
    fbank: NDArray[np.float32],
    choices: FbankChoices,
    mean: float,
    std: float,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Zero the masked bins and frames of [frames, mels], then return (fbank - mean) / std.

    Masks come before normalisation, as in the released code of CAV-MAE and UAVM. `fbank` is
    overwritten; `out` receives the result, if given.
    """
    fbank[:, slice(*choices.bins)] = 0
    fbank[slice(*choices.frames)] = 0
    fbank -= np.float32(mean)
    done: NDArray[np.float32] = np.divide(fbank, np.float32(std), out=fbank if out is None else out)
    return done


def noise_choices(
    choices: FbankChoices, frames: int, generator: np.random.Generator, roll: int | None = None
) -> FbankChoices:
    """Return the choices with a noise strength in [0, 0.1), a roll and a noise seed.

    The roll is drawn from [-roll, roll), as in UAVM's released code with 10; None draws it from
    [-frames, frames), as STELLA's does.
    """
    strength = generator.random() / 10
    limit = frames if roll is None else roll
    shift = int(generator.integers(-limit, limit)) if limit else 0
    return replace(choices, strength=strength, roll=shift, seed=int(generator.integers(1 << 62)))


def noise_and_roll(
    fbank: NDArray[np.float32],
    choices: FbankChoices,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Add uniform noise to [frames, mels] and roll it in time, as chosen.

    The noise comes from SFC64, seeded by the choices: it is faster than Philox, and there are
    many values. `out` receives the result, if given; it must not be `fbank`.
    """
    noise = np.random.Generator(np.random.SFC64(choices.seed)).random(fbank.shape, np.float32)
    noise *= np.float32(choices.strength)
    noise += fbank
    return roll(noise, choices.roll, out)
