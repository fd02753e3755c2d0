"""Find how many seconds the frames of a recipe are apart."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.shard_reader import Shard
from avstore.train.data.member_index import MemberIndex

_TOLERANCE = 0.01


def folder_of(shard: Shard) -> str:
    """Return the folder of a shard: that of its dataset and recipe."""
    return shard.path.rpartition("/")[0]


def frame_steps(
    members: MemberIndex, shard: NDArray[np.integer], shards: Sequence[Shard]
) -> Mapping[str, float]:
    """Return the seconds from frame to frame, by folder of shards.

    Frames have the times of the source's pictures, which are not evenly spaced: a length of a few
    steps would differ from clip to clip. So the step is the median over all clips, and of a rate
    that is nearly a multiple of 0.1 exactly that rate.

    Args:
        members: The members of a list.
        shard: Number of each sample's shard.
        shards: The shards.
    """
    values = members.columns.values
    starts, times = values["time_starts"].astype(np.int64), values["time_values"]
    counts = np.diff(starts)
    several = counts > 1
    means = np.full(len(counts), np.nan)
    spans = times[starts[1:][several] - 1] - times[starts[:-1][several]]
    means[several] = spans / (counts[several] - 1)
    folders = list(dict.fromkeys(map(folder_of, shards)))
    place = np.array([folders.index(folder_of(one)) for one in shards])
    own = place[shard]
    found = {}
    for number, folder in enumerate(folders):
        steps = means[values["times"][own == number]]
        steps = steps[steps > 0]  # not those of clips with one frame, which are NaN
        if len(steps):
            found[folder] = _nominal(float(np.median(steps)))
    return found


def _nominal(step: float) -> float:
    rate = round(1 / step, 1)
    return 1 / rate if rate and abs(rate * step - 1) <= _TOLERANCE else step
