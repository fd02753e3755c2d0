"""Several queries over one list of samples: which of its samples each of them names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.store import StoreError
from train.data.query import sample_list
from train.data.samples import SampleList
from train.data.store import Store


@dataclass(frozen=True)
class Source:
    """One query's samples: name, and their places in the common list, ascending."""

    name: str
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


def sources(
    store: Store, queries: Mapping[str, str], **options: Any
) -> tuple[SampleList, tuple[Source, ...]]:
    """One list of all clips that the queries name, and each query's part of it.

    options: those of `sample_list`. Raises StoreError for a query of which no clip is stored.
    """
    union = " UNION ".join(f"SELECT clip_id FROM ({sql}\n)" for sql in queries.values())
    samples = sample_list(store, union, **options)
    found = []
    for name, sql in queries.items():
        named = store.query(f"SELECT DISTINCT clip_id FROM ({sql}\n)").column("clip_id")
        found.append(Source(name, places_of(samples, named)))
        if not len(found[-1]):
            raise StoreError(f"no stored clip answers the query of {name!r}: {sql[:200]}")
    return samples, tuple(found)


def places_of(samples: SampleList, clip_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Places in the list of those of the clips that it holds, ascending."""
    known = samples.table.column("clip_id")
    mask = pc.is_in(known, value_set=clip_ids.cast(known.type).combine_chunks())
    return np.flatnonzero(mask.to_numpy())
