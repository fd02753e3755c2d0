"""Mean and standard deviation of fbanks over a list of samples, computed from the shards."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from avstore.manifests.library import OpenStore
from avstore.manifests.members import read_members
from avstore.manifests.shard_reader import ByteRange, ReadError
from avstore.manifests.statistics import load_statistics
from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import FBANK_STATISTICS
from avstore.train.data.transforms.spectrograms import load_npy

_MEMBER = "fbank.npy"


@dataclass(frozen=True)
class FbankStatistics:
    """Over every value of every frame. frames: how many."""

    mean: float
    std: float
    frames: int


def fbank_statistics(
    samples: SampleList, progress: Callable[[int], None] | None = None
) -> FbankStatistics:
    """Exact statistics of the list's fbanks, in float64. Raises StoreError for one not readable.

    progress: told of each sample that is done.
    """
    reader = samples.reader
    total = squares = 0.0
    values = frames = 0
    for index in samples.places:
        sample = samples.sample(int(index))
        offset, size = sample.range(_MEMBER)
        try:
            wanted = ByteRange(sample.shard, f"{sample.key}.{_MEMBER}", offset, size)
            (content,) = read_members(reader, [wanted])
            fbank = load_npy(content).astype(np.float64)
        except (ReadError, ValueError) as error:
            raise StoreError(f"{sample.clip_id} in {sample.shard.path}: {error}") from error
        total, squares = total + float(fbank.sum()), squares + float(np.square(fbank).sum())
        values, frames = values + fbank.size, frames + len(fbank)
        if progress:
            progress(1)
    if not values:
        raise StoreError("the samples hold no fbank values: nothing to take statistics of")
    mean = total / values
    return FbankStatistics(mean, math.sqrt(max(squares / values - mean**2, 0.0)), frames)


def known_statistics(store: OpenStore, name: str) -> tuple[float, float]:
    """(mean, std) by name: what the store has (avstore stats), or a published preset.

    Raises StoreError with the names there are.
    """
    with store.connect() as con:
        found = {one.name: (one.mean, one.std) for one in load_statistics(con)}
    known = {**FBANK_STATISTICS, **found}
    if name not in known:
        raise StoreError(
            f"no statistics {name!r}: known are {', '.join(sorted(known))}; compute them with "
            "avstore stats"
        )
    return known[name]
