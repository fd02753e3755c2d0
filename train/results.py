"""Results of a run: rows in DuckDB and Parquet, and a JSON summary."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avstore.manifests.store import committing, write_text
from avstore.train.evaluation.forgetting import Summary

METRICS = "metrics.parquet"
RESULTS = "results.json"
Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("trained", pa.string()),  # the task being trained, or trained last
        ("task", pa.string()),  # the evaluated task; NULL for losses
        ("step", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)
EPOCH = "epoch"
"""What rows of scores after an epoch have as their task."""
HEADLINE = ("a2v_avg", "v2a_avg")


def matrix(rows: list[Row], tasks: list[str], metric: str) -> NDArray[np.float64]:
    """Return the scores of one metric, [trainings, tasks], in the order of training."""
    found = [r for r in rows if r["metric"] == metric and r["task"] in tasks]
    order = list(dict.fromkeys(r["trained"] for r in found))
    value = {(r["trained"], r["task"]): r["value"] for r in found}
    return np.array([[value[k, t] for t in tasks] for k in order], dtype=np.float64)


def score_rows(
    scores: Mapping[str, Mapping[str, float]], run: str, trained: str | None, step: int
) -> list[Row]:
    """Return scores by task and metric as rows."""
    return [
        {"run": run, "trained": trained, "task": task, "step": step, "metric": metric,
         "value": value}
        for task, values in scores.items()
        for metric, value in values.items()
    ]  # fmt: skip


def final_scores(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return the last scores of each task and of "all", by metric."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["task"] not in (None, EPOCH):
            found.setdefault(row["task"], {})[row["metric"]] = row["value"]
    return found


def flatten(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested tables by dotted key; lists are JSON.

    Example:
        >>> flatten({"optim": {"lr": 0.1, "betas": [0.9, 0.99]}})
        {'optim.lr': 0.1, 'optim.betas': '[0.9, 0.99]'}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{above}{key}.")
        else:
            is_list = isinstance(value, list | tuple)
            flat[f"{above}{key}"] = json.dumps(value) if is_list else value
    return flat


def settings_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows that may lack keys, or differ in a key's type, as a table with every key.

    Columns are booleans, numbers, or text.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return pa.table({key: _column([row.get(key) for row in rows]) for key in keys})


def _column(values: list[Any]) -> pa.Array:
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, bool) for value in given):
        return pa.array(values, pa.bool_())
    if given and all(isinstance(value, int | float) for value in given):
        whole = all(isinstance(value, int) for value in given)
        return pa.array(values, pa.int64() if whole else pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def write_results(folder: Path, rows: list[Row], summary: dict[str, Any]) -> None:
    """Write metrics.parquet, results.duckdb and results.json.

    results.duckdb has the same rows as table `metrics`, and the run's settings as the one row of
    table `runs`. results.json is written last: its presence marks a complete run.
    """
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    with committing(folder / METRICS) as file:
        pq.write_table(table, file)
    config = json.loads(json.dumps(summary["config"], default=_plain))
    temporary = folder / ".results.duckdb.tmp"
    temporary.unlink(missing_ok=True)
    with duckdb.connect(str(temporary)) as con:
        con.register("rows", table)
        con.execute("CREATE TABLE metrics AS SELECT * FROM rows")
        con.register("settings", settings_table([{"run": folder.name, **flatten(config)}]))
        con.execute("CREATE TABLE runs AS SELECT * FROM settings")
    temporary.replace(folder / "results.duckdb")
    write_text(folder / RESULTS, json.dumps(summary, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, Summary):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value)} cannot be written as JSON")
