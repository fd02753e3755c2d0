"""Arrow schemas of the manifest's tables, read from schema.sql, which alone declares columns."""

import re
from functools import cache
from importlib.resources import files

import pyarrow as pa

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
