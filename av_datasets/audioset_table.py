"""Build the Arrow table of AudioSet's two million segments, column by column."""

import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avstore.datasets.spec import BadRow, Label


@dataclass
class _File:
    """The rows of one annotation file, column by column."""

    name: str
    split: str
    subset: str
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    starts: "array[float]" = field(default_factory=lambda: array("d"))
    ends: "array[float]" = field(default_factory=lambda: array("d"))
    label_ids: "array[int]" = field(default_factory=lambda: array("i"))
    offsets: "array[int]" = field(default_factory=lambda: array("i", [0]))
    media: dict[int, str] = field(default_factory=dict)


class SegmentTable:
    """Collects the rows of annotation files into a table of clips; the first row of a clip wins.

    Args:
        dataset: Name of the dataset.
        labels: Its vocabulary, where the index is the label id.
    """

    def __init__(self, dataset: str, labels: Sequence[Label]) -> None:
        self._dataset = dataset
        self._names = pa.array([label.label for label in labels])
        self._categories = [label.category for label in labels]
        self._files: list[_File] = []

    def begin_file(self, name: str, split: str, subset: str) -> None:
        """Start a file; the rows added next belong to it."""
        self._files.append(_File(name, split, subset))

    @property
    def file_rows(self) -> int:
        """Number of rows of the current file."""
        return len(self._files[-1].rows)

    def add(
        self,
        row: int,
        youtube_id: str,
        start: float,
        end: float,
        label_ids: tuple[int, ...],
        media: str | None = None,
    ) -> None:
        """Add a row of the current file; start and end in seconds of the video."""
        file = self._files[-1]
        if media:
            file.media[len(file.rows)] = media
        file.rows.append(row)
        file.ids.append(youtube_id)
        file.starts.append(start)
        file.ends.append(end)
        file.label_ids.extend(label_ids)
        file.offsets.append(len(file.label_ids))

    def finish(self) -> tuple[pa.Table, list[BadRow]]:
        """Return the clips in file order, as rows of `clips`, and the rows that repeat a clip."""
        table = pa.concat_tables(self._columns(file) for file in self._files)
        table, bad = self._without_repeats(table)
        positions = pa.array(np.arange(table.num_rows, dtype=np.int64))
        table = table.append_column("position", positions)
        return table.drop_columns(["row", "file"]), bad

    def _columns(self, file: _File) -> pa.Table:
        count = len(file.rows)
        starts = np.frombuffer(file.starts, dtype=np.float64)
        seconds = pc.utf8_lpad(pa.array(starts.astype(np.int64)).cast(pa.string()), 6, "0")
        ids = pa.array(file.ids, pa.string())
        keys = pc.binary_join_element_wise(ids, seconds, "_")
        label_ids = pa.array(np.frombuffer(file.label_ids, dtype=np.int32))
        offsets = pa.array(np.frombuffer(file.offsets, dtype=np.int32))
        constant = _constant(count)
        return pa.table(
            {
                "clip_id": pc.binary_join_element_wise(f"{self._dataset}/", keys, ""),
                "dataset": constant(self._dataset),
                "key": keys,
                "source_id": ids,
                "start_s": starts,
                "end_s": np.frombuffer(file.ends, dtype=np.float64),
                "split": constant(file.split),
                "subsets": pa.array([[file.subset]], pa.list_(pa.string())).take(_zeros(count)),
                "labels": pa.ListArray.from_arrays(offsets, self._names.take(label_ids)),
                "label_ids": pa.ListArray.from_arrays(offsets, label_ids),
                "category": self._common_category(file),
                "captions": pa.array([[]], pa.list_(pa.string())).take(_zeros(count)),
                "extra": constant("{}") if not file.media else _extra(file, count),
                "row": np.frombuffer(file.rows, dtype=np.int64),
                "file": constant(file.name),
            }
        )

    def _common_category(self, file: _File) -> pa.Array:
        """Return per clip the category that all its labels share, or null."""
        names = sorted({name for name in self._categories if name})
        codes = np.array([names.index(c) if c else -1 for c in self._categories])
        of_label = codes[np.frombuffer(file.label_ids, dtype=np.int32)]
        first = np.frombuffer(file.offsets, dtype=np.int32)[:-1]
        low, high = np.minimum.reduceat(of_label, first), np.maximum.reduceat(of_label, first)
        return pa.array(names).take(pa.array(np.where(low == high, low, 0), mask=low != high))

    def _without_repeats(self, table: pa.Table) -> tuple[pa.Table, list[BadRow]]:
        """Drop later rows of a clip; an equal row in another file is not an error."""
        encoded = table["key"].combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        firsts = np.unique(codes, return_index=True)[1]
        kept = np.zeros(table.num_rows, dtype=bool)
        kept[firsts] = True
        bad = [
            row
            for index in np.flatnonzero(~kept).tolist()
            if (row := _conflict(table, index, int(firsts[codes[index]])))
        ]
        return (table if kept.all() else table.filter(pa.array(kept))), bad


def _conflict(table: pa.Table, index: int, first: int) -> BadRow | None:
    (row,), (kept,) = table.slice(index, 1).to_pylist(), table.slice(first, 1).to_pylist()
    same = all(row[name] == kept[name] for name in ("split", "subsets", "label_ids"))
    if same and row["file"] != kept["file"]:
        return None
    where = f"row {kept['row']} of {kept['file']} is kept"
    text = f"{row['source_id']}, {row['start_s']:.3f}, {row['end_s']:.3f}"
    return BadRow(row["file"], row["row"], f"duplicate clip {row['key']!r}: {where}", text)


def _extra(file: _File, count: int) -> pa.Array:
    """Return the column `extra`, with the media file of each clip that has one."""
    facts = ({"file": file.media[i]} if i in file.media else {} for i in range(count))
    return pa.array([json.dumps(fact) for fact in facts])


def _zeros(count: int) -> pa.Array:
    return pa.array(np.zeros(count, dtype=np.int32))


def _constant(count: int) -> Callable[[str], pa.Array]:
    """Return a function that returns a column of one text, `count` long."""
    return lambda text: pa.repeat(pa.scalar(text), count)
