"""Run a user's query: one row for each clip, with its weight, labels and columns."""

from collections.abc import Sequence
from typing import Any

import duckdb

from avstore.manifests.schema import sql_name
from avstore.manifests.store import StoreError
from avstore.train.data.query_columns import require_one_value, wanted_columns


def select_clips(
    con: duckdb.DuckDBPyConnection,
    sql: str,
    params: Sequence[Any],
    masks: Sequence[str],
    kept: Sequence[str],
) -> bool:
    """Create table `wanted`: one row per clip of the query; weights of one clip add up.

    Returns:
        Whether it has the column label_ids.
    """
    selected = con.sql(sql, params=list(params))
    if selected is None:
        raise StoreError(f"the statement returns no rows; write a SELECT: {short(sql)}")
    if "clip_id" not in selected.columns:
        raise StoreError(
            f"the query returns the columns {', '.join(selected.columns)} and no column clip_id: "
            f"{short(sql)}"
        )
    weighted = "weight" in selected.columns
    if weighted and (kind := selected.types[selected.columns.index("weight")]) == "VARCHAR":
        raise StoreError(f"the query's weight is {kind}, no number: return weight::DOUBLE")
    columns = ["sum(weight)::DOUBLE AS weight" if weighted else "NULL::DOUBLE AS weight"]
    labelled = "label_ids" in selected.columns
    if labelled:
        columns += ["any_value(coalesce(label_ids::INTEGER[], [])) AS label_ids"]
        columns += ["count(DISTINCT coalesce(label_ids::INTEGER[], [])) AS labellings"]
    columns += [f"bit_or({sql_name(mask)}) AS {sql_name(mask)}" for mask in masks]
    columns += wanted_columns(selected, kept)
    selected.query(
        "selected",
        f"CREATE TEMP TABLE wanted AS SELECT clip_id::VARCHAR AS clip_id, {', '.join(columns)} "
        "FROM selected WHERE clip_id IS NOT NULL GROUP BY ALL",
    )
    if weighted:
        bad = con.execute(
            "SELECT clip_id, weight FROM wanted WHERE weight IS NULL OR weight < 0 "
            "OR NOT isfinite(weight) LIMIT 1"
        ).fetchone()
        if bad:
            raise StoreError(
                f"the query gives {bad[0]} the weight {bad[1]}; weights are at least 0 and finite"
            )
    if labelled:
        _require_one_labelling(con)
    require_one_value(con, kept)
    return labelled


def _require_one_labelling(con: duckdb.DuckDBPyConnection) -> None:
    """Raise StoreError if the query returns a clip twice, with different labels."""
    several = con.execute("SELECT clip_id FROM wanted WHERE labellings > 1 LIMIT 1").fetchone()
    if several:
        raise StoreError(
            f"the query returns {several[0]} with different label_ids; choose one label_set and "
            "one modality"
        )


def short(sql: str) -> str:
    """Return the beginning of a query, on one line, for errors."""
    return " ".join(sql.split())[:200]
