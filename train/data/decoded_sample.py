"""One sample's arrays on their way into a batch, and where they go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.output_buffers import Place
from avstore.train.data.transforms.pictures import Box
from avstore.train.data.transforms.spectrograms import FbankChoices


@dataclass
class Piece:
    """One sample's arrays, as they go into a batch.

    pictures: [T, S, S, 3] in 0 … 255, uint8, or float32 where mixed, or normalised; where the
    device decodes, jpegs and box instead (frame: width and height of the stored ones).
    fbank: float32 [frames, mels]; fbank_frames: how many are no padding. Where the device
    finishes it, it is as stored, and choices are what was drawn for it.
    waveform: float32 [samples] in [-1, 1], at `rate`. masks: [S, S] by second;
    unknown_colours: pixels of them that became background.
    mixed_with: the partner's place in the list and clip id; share: the part of the sample's own.
    """

    clip_id: str
    index: int
    pictures: NDArray[Any] | None = None
    normalised: bool = False
    jpegs: list[memoryview] = field(default_factory=list)
    box: Box = (0, 0, 0, 0)
    frame: tuple[int, int] | None = None
    fbank: NDArray[Any] | None = None
    fbank_frames: int = 0
    choices: FbankChoices = field(default_factory=FbankChoices)
    waveform: NDArray[np.float32] | None = None
    rate: int = 0
    features: dict[str, NDArray[Any]] = field(default_factory=dict)
    masks: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    unknown_colours: int = 0
    mixed_with: tuple[int, str] | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Places:
    """Where a piece's arrays are to lie: its rows of the batch, by the rest of their shape."""

    pictures: Place
    fbank: Place
    usual_fbank: Callable[[], NDArray[Any] | None]
