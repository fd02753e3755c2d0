"""Arrow schemas of the manifest's tables, read from schema.sql, which alone declares columns."""

import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import pyarrow as pa

from avstore.manifests.path_text import valid_value

_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\);$", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r'^ *"?(\w+)"? ([A-Z]+)(\[\])?', re.MULTILINE)
_TYPES = {
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "TIMESTAMP": pa.timestamp("us"),
}


def table_schema(table: str, without: tuple[str, ...] = ()) -> pa.Schema:
    """Return the Arrow schema of a manifest table.

    Args:
        table: A table that schema.sql creates.
        without: Columns to leave out.
    """
    fields = [field for field in _schemas()[table] if field.name not in without]
    return pa.schema(fields)


@cache
def _schemas() -> dict[str, pa.Schema]:
    text = files("avstore.manifests").joinpath("schema.sql").read_text()
    return {table: pa.schema(_fields(body)) for table, body in _TABLE.findall(text)}


def _fields(body: str) -> list[pa.Field]:
    columns = _COLUMN.findall(body)
    return [
        pa.field(name, pa.list_(_TYPES[kind]) if is_list else _TYPES[kind])
        for name, kind, is_list in columns
    ]


def arrow_table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as an Arrow table; texts that Arrow refuses are made valid."""
    try:
        return pa.Table.from_pylist(list(rows), schema=schema)
    except UnicodeEncodeError:
        return pa.Table.from_pylist([valid_value(row) for row in rows], schema=schema)


def skip_pandas_import() -> None:
    """Keep pyarrow from importing pandas (1.5 s of CPU) only to ask whether a list is a Series.

    pyarrow looks for pandas at its first conversion from Python objects. If pandas seems absent
    then, pyarrow looks again when data is converted to or from pandas, so `.df()` still works.
    Without effect if pandas is imported already.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _HidePandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_HidePandas)


class _HidePandas:
    """An import hook to which pandas is not installed."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
