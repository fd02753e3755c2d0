"""Finish the table of the rows that a query found: one row a clip, used shards and layouts only."""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avstore.manifests.shard_reader import Shard
from avstore.train.data.arrow_arrays import array_of, numbers_of


def last_of_each_clip(table: pa.Table) -> pa.Table:
    """Keep the last of neighbouring rows of a clip, which is in several shards of its stage."""
    ids = table["clip_id"].combine_chunks()
    repeated = pc.equal(ids.slice(0, max(len(ids) - 1, 0)), ids.slice(1))
    if not pc.any(repeated).as_py():
        return table
    last = np.append(~repeated.to_numpy(zero_copy_only=False), True)
    return table.filter(pa.array(last))


def used_shards(
    con: duckdb.DuckDBPyConnection, table: pa.Table
) -> tuple[pa.Table, tuple[Shard, ...], list[str]]:
    """Return the rows with shards renumbered from 0, these shards, and their datasets."""
    table, used = _renumbered(table, "shard")
    con.register("used", pa.table({"number": array_of(used)}))
    rows = con.execute(
        "SELECT path, sha256, bytes, dataset FROM stage_shards WHERE number IN "
        "(SELECT number FROM used) ORDER BY number"
    ).fetchall()
    return table, tuple(Shard(*row[:3]) for row in rows), sorted({row[3] for row in rows})


def used_layouts(table: pa.Table, layouts: list[str]) -> tuple[pa.Table, list[str]]:
    """Return the rows with layouts renumbered from 0, and these layouts."""
    if not layouts:
        return table, []
    table, used = _renumbered(table, "layout")
    return table, [layouts[number] for number in used.tolist()]


def _renumbered(table: pa.Table, name: str) -> tuple[pa.Table, NDArray[Any]]:
    """Return the rows with a column's numbers replaced by 0, 1, …, and what these stand for."""
    numbers = numbers_of(table[name])
    used = np.flatnonzero(np.bincount(numbers))
    replaced = np.zeros(used[-1] + 1, numbers.dtype)
    replaced[used] = np.arange(len(used))
    return table.set_column(
        table.schema.get_field_index(name), name, array_of(replaced[numbers])
    ), used
