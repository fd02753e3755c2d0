"""Compute the mean and standard deviation of a list's fbanks from the shards."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avstore.manifests.library import OpenStore
from avstore.manifests.members import read_members
from avstore.manifests.npy import load_npy
from avstore.manifests.shard_reader import ReadError
from avstore.manifests.statistics import load_statistics
from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import FBANK_STATISTICS

_MEMBER = "fbank.npy"


@dataclass(frozen=True)
class FbankStatistics:
    """Statistics over every value of every fbank frame.

    Attributes:
        mean: Mean.
        std: Standard deviation.
        frames: Number of frames.
    """

    mean: float
    std: float
    frames: int


def fbank_statistics(
    samples: SampleList, progress: Callable[[int], None] | None = None
) -> FbankStatistics:
    """Compute the statistics of the list's fbanks, in float64.

    Args:
        samples: The list.
        progress: Called with 1 after each sample.

    Raises:
        StoreError: If an fbank cannot be read, or there is none.

    Example:
        >>> statistics = fbank_statistics(samples)
        >>> round(statistics.mean, 1), round(statistics.std, 1), statistics.frames
        (-5.1, 4.0, 942)
        >>> spec = BatchSpec(batch_size=4, mean=statistics.mean, std=statistics.std)
    """
    reader = samples.reader
    total = squares = 0.0
    values = frames = 0
    for index in samples.stored_order:
        sample = samples.sample(int(index))
        member = sample.byte_ranges([_MEMBER])
        try:
            (content,) = read_members(reader, member)
            fbank = load_npy(content).astype(np.float64)
        except (ReadError, ValueError) as error:
            raise StoreError(f"{sample.clip_id} in {sample.shard.path}: {error}") from error
        total, squares = total + float(fbank.sum()), squares + float(np.square(fbank).sum())
        values, frames = values + fbank.size, frames + len(fbank)
        if progress:
            progress(1)
    if not values:
        raise StoreError("the samples hold no fbank values to compute statistics of")
    mean = total / values
    return FbankStatistics(mean, math.sqrt(max(squares / values - mean**2, 0.0)), frames)


def known_statistics(store: OpenStore, name: str) -> tuple[float, float]:
    """Return (mean, std) by name: the store's own (avstore stats), or a published preset.

    Raises:
        StoreError: If there are no statistics of that name; it lists the names.

    Example:
        >>> mean, std = known_statistics(open_store("data"), "vggsound")
        >>> mean, std
        (-5.081, 4.4849)
    """
    with store.connect() as con:
        found = {one.name: (one.mean, one.std) for one in load_statistics(con)}
    known = {**FBANK_STATISTICS, **found}
    if name not in known:
        raise StoreError(
            f"there are no statistics {name!r}; known are {', '.join(sorted(known))}; compute "
            "others by avstore stats"
        )
    return known[name]
