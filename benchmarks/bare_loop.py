"""Measure the least work for a frame and an fbank: a loop over byte ranges known beforehand."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from avstore.train.data import SampleList

_BATCH, _FBANK = 64, (1024, 128)
_HEADER = 128  # of an .npy file


@dataclass(frozen=True)
class _BareBatches:
    """(file, fbank offset, frame offset, frame size) of each clip; memory of one batch."""

    rows: list[tuple[int, int, int, int]]
    pictures: NDArray[np.uint8]
    stored: NDArray[np.float16]
    fbanks: NDArray[np.float32]


@contextmanager
def bare_loops(
    samples: SampleList, mean: float, std: float
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Yield two loops over all samples in random order: fbank as stored, and float32 normalised.

    Frames have one size; fbanks are float16 [1024, 128].
    """
    with ExitStack() as stack:
        files = {
            shard.path: stack.enter_context(Path(samples.url, shard.path).open("rb", 0)).fileno()
            for shard in samples.shards
        }
        rows = []
        for index in random.Random(1).sample(range(len(samples)), len(samples)):
            sample = samples.sample(index)
            (fbank, _), (frame, size) = sample.range("fbank.npy"), sample.range("f007.jpg")
            rows.append((files[sample.shard.path], fbank + _HEADER, frame, size))
        file, _, frame, size = rows[0]
        picture = simplejpeg.decode_jpeg(os.pread(file, size, frame))
        batches = _BareBatches(
            rows,
            np.zeros((_BATCH, *picture.shape), np.uint8),
            np.zeros((_BATCH, *_FBANK), np.float16),
            np.zeros((_BATCH, *_FBANK), np.float32),
        )
        yield partial(_as_stored, batches), partial(_float32, batches, mean, std)


def _as_stored(m: _BareBatches) -> None:
    for at, (file, fbank, frame, size) in enumerate(m.rows):
        row = at % _BATCH
        simplejpeg.decode_jpeg(os.pread(file, size, frame), buffer=m.pictures[row])
        os.preadv(file, [m.stored[row].reshape(-1).view(np.uint8)], fbank)


def _float32(m: _BareBatches, mean: float, std: float) -> None:
    halves, wide = np.empty(_FBANK, np.float16), np.empty(_FBANK, np.float32)
    # torch starts no threads for so few rows.
    parts = zip(*(torch.split(torch.from_numpy(x), 256) for x in (halves, wide)), strict=True)
    pairs = list(parts)
    for at, (file, fbank, frame, size) in enumerate(m.rows):
        row = at % _BATCH
        simplejpeg.decode_jpeg(os.pread(file, size, frame), buffer=m.pictures[row])
        os.preadv(file, [halves.reshape(-1).view(np.uint8)], fbank)
        for stored, widened in pairs:
            widened.copy_(stored)
        np.subtract(wide, np.float32(mean), wide)
        np.divide(wide, np.float32(std), m.fbanks[row])
