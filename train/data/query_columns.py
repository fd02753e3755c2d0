"""Keep columns of a query in the sample list, one value for each clip, for `Batch.extras`."""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.schema import sql_name
from avstore.manifests.store import StoreError
from avstore.train.data.batch_keys import RESERVED

PREFIX = "column "
"""Beginning of the columns' names in the list's table, which has columns of its own."""

# Beginning of the names of temporary columns that count the values of a clip.
_VALUES_OF = "values of "
_OF_QUERY = ("clip_id", "weight", "label_ids")


def wanted_columns(selected: duckdb.DuckDBPyRelation, columns: Sequence[str]) -> list[str]:
    """Return the SQL of the columns, each with a count of its values, for one row a clip.

    Numbers that have no counterpart in tensors are converted: decimals to DOUBLE, huge integers to
    BIGINT.

    Raises:
        StoreError: The query does not return one of them, or a batch has a key of that name.
    """
    types = dict(zip(selected.columns, map(str, selected.types), strict=True))
    parts = []
    for name in columns:
        if name not in types:
            found = [column for column in types if column not in _OF_QUERY]
            raise StoreError(
                f"the query returns no column {name!r}{did_you_mean(name, found)}: it returns "
                f"{', '.join(found) or 'only ' + ', '.join(types)}"
            )
        if sum(other.lower() == name.lower() for other in selected.columns) > 1:
            raise StoreError(
                f"the query returns several columns {name!r} (capitals do not count): name them "
                "differently"
            )
        if name in RESERVED:
            raise StoreError(
                f"a batch has a key {name!r} of its own: let the query return the column {name!r} "
                "under another name"
            )
        value = sql_name(name) + _cast(types[name])
        parts += [f"first({value}) AS {sql_name(name)}"]
        values = f"count(DISTINCT {value}) + max(({value} IS NULL)::INT)"
        parts += [f"{values} AS {sql_name(_VALUES_OF + name)}"]
    return parts


def require_one_value(con: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> None:
    """Raise StoreError if the query returns a clip with several values of a column."""
    for name in columns:
        count = sql_name(_VALUES_OF + name)
        row = con.execute(f"SELECT clip_id FROM wanted WHERE {count} > 1 LIMIT 1").fetchone()
        if row:
            raise StoreError(
                f"the query returns {row[0]} with several values of {name!r}: return one row for "
                f"each clip, such as by list({sql_name(name)}) … GROUP BY clip_id"
            )


def selected_columns(columns: Sequence[str]) -> str:
    """Return the SQL that takes the columns from the table `wanted` (w) into the list's."""
    return "".join(f", w.{sql_name(name)} AS {sql_name(PREFIX + name)}" for name in columns)


def has_nulls(table: pa.Table, name: str) -> bool:
    """Return whether a column has a NULL."""
    return bool(table.column(PREFIX + name).null_count)


def value_at(table: pa.Table, name: str, index: int) -> Any:
    """Return a clip's value of a column: a Python object."""
    return table.column(PREFIX + name)[index].as_py()


def _cast(kind: str) -> str:
    if kind.endswith("]"):
        return ""
    if kind.startswith("DECIMAL"):
        return "::DOUBLE"
    if kind in ("BIT", "BIGNUM", "VARINT"):
        return "::VARCHAR"
    return "::BIGINT" if kind in ("HUGEINT", "UHUGEINT", "UBIGINT") else ""
