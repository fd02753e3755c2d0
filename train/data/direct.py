"""An fbank from a local shard straight to its row of the batch: no copy on the way."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.members import is_own_header
from avstore.manifests.shard_reader import ByteRange, LocalReader, ReadError
from avstore.train.data.transforms.spectrograms import npy_header

_TAR, _NPY = 512, 128


def read_row(reader: LocalReader, item: ByteRange, row: NDArray[Any]) -> int | None:
    """Fill `row` [frames, mels] with the array of an .npy member, as it is stored: cut, or zeros at
    the end. How many frames are no padding.

    None where the member is not what avstore usually writes, or cannot be read: whoever asks reads
    it as any other, and is told what is wrong.
    """
    if not hasattr(os, "preadv"):
        return None
    width = int(row.shape[1] * row.itemsize)
    frames, rest = divmod(item.size - _NPY, width)
    if frames < 0 or rest:
        return None
    kept = min(frames, len(row))
    head = bytearray(_TAR + _NPY)
    buffers = [head, row[:kept].reshape(-1).view(np.uint8)]
    try:
        got = reader.read_into(item.shard, item.offset - _TAR, buffers)
        shape, fortran, dtype, start = npy_header(memoryview(head)[_TAR:])
    except (ReadError, ValueError):
        return None
    usual = (got, start, shape, dtype) == (
        len(head) + kept * width,
        _NPY,
        (frames, row.shape[1]),
        row.dtype,
    )
    if fortran or not usual or not is_own_header(bytes(head[:_TAR]), item):
        return None
    row[kept:] = 0
    return kept
