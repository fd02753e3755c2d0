"""Clips as columns: what millions of rows are kept in, and a sequence of `Clip` over them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

import pyarrow as pa

from avstore.datasets.spec import Clip

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("dataset", pa.string()),
        ("key", pa.string()),
        ("source_id", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("split", pa.string()),
        ("subsets", pa.list_(pa.string())),
        ("labels", pa.list_(pa.string())),
        ("label_ids", pa.list_(pa.int32())),
        ("category", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("extra", pa.string()),
        ("position", pa.int64()),
    ]
)


class TableClips(Sequence[Clip]):
    """The clips of a table of `SCHEMA`, each made when asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Clip]: ...
    def __getitem__(self, index: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        (row,) = self._table.slice(index % len(self), 1).to_pylist()
        return _clip(row)

    def __iter__(self) -> Iterator[Clip]:
        for batch in self._table.to_batches(max_chunksize=10_000):
            yield from map(_clip, batch.to_pylist())


def _clip(row: dict[str, Any]) -> Clip:
    return Clip(
        dataset=row["dataset"],
        key=row["key"],
        source_id=row["source_id"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        split=row["split"],
        subsets=tuple(row["subsets"]),
        labels=tuple(row["labels"]),
        label_ids=tuple(row["label_ids"]),
        category=row["category"],
        captions=tuple(row["captions"]),
        extra=json.loads(row["extra"]),
    )
