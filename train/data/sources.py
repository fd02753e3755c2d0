"""Several queries over one list of samples: which of its samples each of them names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.train.data.query import sample_list
from avstore.train.data.samples import SampleList
from avstore.train.data.shared import SharedTable

_BITS = 64


@dataclass(frozen=True)
class Source:
    """One query's samples: name, and their places in the common list, ascending."""

    name: str
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


def sources(
    store: OpenStore, queries: Mapping[str, str], **options: Any
) -> tuple[SampleList, tuple[Source, ...]]:
    """One list of all clips that the queries name, and each query's part of it.

    options: those of `sample_list`. Raises StoreError for a query of which no clip is stored.
    """
    if not queries:
        raise StoreError("no query is given: name at least one")
    parts, masks = _marked(list(queries.values()))
    samples = sample_list(store, " UNION ALL ".join(parts), masks=masks, **options)
    bits = [samples.numbers(mask) for mask in masks]
    found = []
    for number, (name, sql) in enumerate(queries.items()):
        bit = np.uint64(1 << number % _BITS)
        found.append(Source(name, np.flatnonzero(bits[number // _BITS] & bit)))
        if not len(found[-1]):
            raise StoreError(f"no stored clip answers the query of {name!r}: {sql[:200]}")
    table = samples.table.drop_columns(masks)
    return replace(samples, columns=SharedTable(table)), tuple(found)


def _marked(queries: list[str]) -> tuple[list[str], list[str]]:
    """Each query's clips with a bit of its own set in columns of bits; those columns' names."""
    masks = [f"mask_{number}" for number in range(-(-len(queries) // _BITS))]
    marked = []
    for number, sql in enumerate(queries):
        values = [1 << number % _BITS if at == number // _BITS else 0 for at in range(len(masks))]
        columns = ", ".join(
            f"{value}::UBIGINT AS {mask}" for value, mask in zip(values, masks, strict=True)
        )
        marked.append(f"SELECT clip_id, {columns} FROM ({sql.strip().rstrip(';')}\n)")
    return marked, masks
