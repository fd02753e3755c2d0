"""Samples by group, such as by source video, and random ones of a group."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError
from avstore.train.data.order import Indices
from avstore.train.data.query_columns import PREFIX
from avstore.train.data.samples import SampleList


@dataclass(frozen=True)
class Groups:
    """Indices of samples, group by group, in order of the groups' names.

    Attributes:
        members: int64 [N], the indices.
        sizes: int64 [G], number of samples of each group.
    """

    members: Indices
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each group begins in `members`."""
        return np.cumsum(self.sizes) - self.sizes

    def draw(self, groups: NDArray[np.int64], chances: NDArray[np.float64]) -> Indices:
        """Return a sample of each group.

        Args:
            groups: int64 [N], numbers of groups.
            chances: Numbers in [0, 1) that decide which sample, [N].
        """
        within = (chances * self.sizes[groups]).astype(np.int64)
        found: Indices = self.members[self.starts[groups] + within]
        return found


def require_column(samples: SampleList, by: str) -> None:
    """Raise StoreError if the list keeps no such column."""
    if by not in samples.extras:
        guess = did_you_mean(by, samples.extras)
        raise StoreError(
            f"the list keeps no column {by!r}{guess}: let the query return it, and make "
            f"the list with sample_list(…, columns=[{by!r}])"
        )


def groups_of(samples: SampleList, by: str, own: Indices) -> Groups:
    """Return the groups of some samples.

    Args:
        samples: The list.
        by: Column that names each clip's group, by text or whole numbers.
        own: int64 [N], indices into the list.

    Raises:
        StoreError: If the list has no such column, or a clip has no group.
    """
    require_column(samples, by)
    column = samples.table.column(PREFIX + by).combine_chunks().take(pa.array(own))
    if column.null_count:
        first = int(own[np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]])
        raise StoreError(
            f"{column.null_count} of {len(own)} clips have no {by}, such as "
            f"{samples.clip_ids[first]}: leave them out of the query"
        )
    if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
        raise StoreError(
            f"the column {by!r} is {column.type}: name groups by text or whole numbers, "
            f"such as {by}::VARCHAR"
        )
    encoded = pc.dictionary_encode(column)
    rank = np.argsort(np.argsort(np.array(encoded.dictionary.to_pylist())))
    group: NDArray[np.int64] = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    order = np.argsort(group, kind="stable")
    return Groups(own[order], np.bincount(group).astype(np.int64))


@dataclass(frozen=True)
class Grouping:
    """An epoch over groups: each of them `repeats` times.

    Attributes:
        groups: The groups.
        repeats: Permutations of an epoch.
    """

    groups: Groups
    repeats: int

    def __len__(self) -> int:
        return self.repeats * len(self.groups)


def grouping(samples: SampleList, own: Indices, by: str, passes: int) -> Grouping:
    """Return the epoch of a task's clips by group.

    Args:
        samples: The list.
        own: The task's indices into it.
        by: Column that names a clip's group.
        passes: Times that the epoch is as long as all clips, if all groups were as large as their
            mean, rounded down.
    """
    found = groups_of(samples, by, own)
    return Grouping(found, passes * (len(own) // len(found)))
