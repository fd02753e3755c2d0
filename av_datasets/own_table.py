"""Read a table of a user's own data: CSV with any usual delimiter, TSV, JSON lines or Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from avstore.datasets.lines import read_bytes
from avstore.datasets.spec import AnnotationError

COLUMNS = ("file", "url", "start", "end", "labels", "split", "captions", "key", "id")
_ALIASES = {
    "file_name": "file",
    "filename": "file",
    "path": "file",
    "label": "labels",
    "caption": "captions",
    "start_s": "start",
    "end_s": "end",
}


def field_name(column: str) -> str:
    """Return the name in COLUMNS that a column stands for, or its own in lower case."""
    name = column.strip().strip('"').lower()
    return _ALIASES.get(name, name)


def read_table(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, Any] | str]]]:
    """Read a CSV, TSV, JSON lines or Parquet file.

    Returns:
        The columns, and (row number from 1, values or why there are none) of each row.

    Raises:
        AnnotationError: The file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    data = read_bytes(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"{path} is not UTF-8 text: byte 0x{data[error.start]:02x} in line {line}; save it as "
            "UTF-8 (in Excel: CSV UTF-8)"
        ) from error
    return _read_jsonl(text) if path.suffix.lower() == ".jsonl" else _read_csv(path, text)


def _read_parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, Any] | str]]]:
    import pyarrow as pa  # noqa: PLC0415 -- only lists in Parquet need it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise AnnotationError(f"{path} cannot be read as Parquet: {error}") from error
    return table.column_names, enumerate(table.to_pylist(), start=1)


def _read_jsonl(text: str) -> tuple[list[str], Iterator[tuple[int, dict[str, Any] | str]]]:
    rows: list[tuple[int, dict[str, Any] | str]] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            rows.append((number, f"not JSON: {error}"))
            continue
        if isinstance(value, dict):
            columns.update(dict.fromkeys(value))
        rows.append((number, value if isinstance(value, dict) else "not a JSON object"))
    return list(columns), iter(rows)


def _read_csv(
    path: Path, text: str
) -> tuple[list[str], Iterator[tuple[int, dict[str, Any] | str]]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t|", key=lambda d: (_known(header.split(d)), header.count(d)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = [name.strip() for name in next(reader)]
    except (csv.Error, StopIteration) as error:
        raise AnnotationError(f"{path} is not a CSV with a header: {error}") from error

    def rows() -> Iterator[tuple[int, dict[str, Any] | str]]:
        number = reader.line_num
        while True:
            number = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, f"not a row of fields: {error}"
                continue
            if len(values) == len(columns):
                yield number, dict(zip(columns, map(str.strip, values), strict=True))
            elif any(value.strip() for value in values):
                yield (
                    number,
                    (
                        f"{len(values)} fields, and the header has {len(columns)}; quote a value "
                        f"that contains {delimiter!r}"
                    ),
                )

    return columns, rows()


def _known(names: Iterable[str]) -> int:
    return sum(field_name(name) in COLUMNS for name in names)
