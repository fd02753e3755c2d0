"""Collections of clips: merged from several annotation files, or read from an Arrow table."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from avstore.datasets.lines import Line, usable_rows
from avstore.datasets.spec import BadRow, Clip

_FIELDS = tuple(each.name for each in fields(Clip))
_LISTS = ("subsets", "labels", "label_ids", "captions")


@dataclass
class MergedClips:
    """Clips of several annotation files in file order, one per key; the first row wins.

    A second file may repeat a clip unchanged. A clip that occurs twice in one file, or with
    another label, split or time in another file, becomes a bad row that names both places.

    Attributes:
        bad_rows: The rows that could not be used.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    _clips: dict[str, tuple[Clip, Line]] = field(default_factory=dict)

    @property
    def clips(self) -> list[Clip]:
        """The clips in file order."""
        return [clip for clip, _ in self._clips.values()]

    def add_file(
        self, path: Path, rows: Iterable[tuple[Clip, Line] | BadRow], expected: str
    ) -> None:
        """Add the rows of one file.

        Args:
            path: The file, for error messages.
            rows: Its parsed rows, each with its line.
            expected: The format that the file should have, for error messages.

        Raises:
            AnnotationError: The file has no usable row.
        """
        for row in usable_rows(path, rows, self.bad_rows, expected):
            clip, line = row
            first = self._clips.setdefault(clip.key, row)
            if first is not row and (reason := _conflict(clip, line, first)):
                self.bad_rows.append(line.bad(reason))


def _conflict(clip: Clip, line: Line, first: tuple[Clip, Line]) -> str | None:
    """Return why a repeated clip is a bad row, or None for an unchanged copy in another file."""
    earlier, where = first
    if where.file != line.file and clip == earlier:
        return None
    labels = ", ".join(earlier.labels)
    difference = "" if clip == earlier else f" as {labels!r}, {earlier.split}"
    return f"duplicate clip {clip.key!r}: row {where.row} of {where.file} is kept{difference}"


class ArrowClips(Sequence[Clip]):
    """A read-only sequence of `Clip` over an Arrow table; each clip is created on access.

    Args:
        table: Rows of the manifest table `clips`; further columns are ignored.
    """

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
        return Clip(**clip_fields(row))

    def __iter__(self) -> Iterator[Clip]:
        for batch in self._table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                yield Clip(**clip_fields(row))


def clip_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return the field values of `Clip` from a row of the manifest table `clips`."""
    values = {name: row[name] for name in _FIELDS}
    for name in _LISTS:
        values[name] = tuple(values[name] or ())
    values["extra"] = json.loads(values["extra"] or "{}")
    return values
