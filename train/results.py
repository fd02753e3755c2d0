"""Results of a run: rows in DuckDB and Parquet, a JSON summary, tables for the terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.table import Table

from avstore.train.checkpoint import write_atomically
from avstore.train.evaluation.forgetting import Summary, summarise

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
HEADLINE = ("a2v_avg", "v2a_avg")


def matrix(rows: list[Row], tasks: list[str], metric: str) -> NDArray[np.float64]:
    """Return the scores of one metric, [trainings, tasks], in the order of training."""
    found = [r for r in rows if r["metric"] == metric and r["task"] in tasks]
    order = list(dict.fromkeys(r["trained"] for r in found))
    value = {(r["trained"], r["task"]): r["value"] for r in found}
    return np.array([[value[k, t] for t in tasks] for k in order], dtype=np.float64)


def summaries(rows: list[Row], tasks: list[str]) -> dict[str, Summary]:
    """Return average and forgetting of every recall metric."""
    metrics = sorted({r["metric"] for r in rows if r["metric"][:4] in ("a2v_", "v2a_")})
    return {
        metric: summarise(matrix(rows, tasks, metric))
        for metric in metrics
        if not metric.endswith("medr")
    }


def write_results(folder: Path, rows: list[Row], summary: dict[str, Any]) -> None:
    """Write metrics.parquet, results.duckdb (the same rows as table `metrics`) and results.json.

    results.json is written last: its presence marks a complete run.
    """
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(folder / "metrics.parquet", sink.getvalue().to_pybytes())
    temporary = folder / ".results.duckdb.tmp"
    temporary.unlink(missing_ok=True)
    with duckdb.connect(str(temporary)) as con:
        con.register("rows", table)
        con.execute("CREATE TABLE metrics AS SELECT * FROM rows")
    temporary.replace(folder / "results.duckdb")
    text = json.dumps(summary, indent=2, default=_plain)
    write_atomically(folder / "results.json", text.encode())


def task_table(rows: list[Row], tasks: list[str], chance: float) -> Table:
    """Return the task × task matrix of mean recall over both directions, for the terminal."""
    scores = np.mean([matrix(rows, tasks, metric) for metric in HEADLINE], axis=0)
    trained = list(dict.fromkeys(r["trained"] for r in rows if r["task"] in tasks))
    table = Table(
        title=f"Retrieval after each task: mean R@1/5/10, both directions, %; chance {chance:.1f}",
        box=None,
        header_style="bold",
    )
    table.add_column("trained on")
    for task in tasks:
        table.add_column(task, justify="right")
    table.add_column("mean", justify="right")
    for name, line in zip(trained, scores, strict=True):
        table.add_row(name, *[f"{x:.1f}" for x in line], f"{line.mean():.1f}")
    return table


def summary_table(by_metric: dict[str, Summary]) -> Table:
    """Return average and forgetting of the recall metrics, for the terminal."""
    table = Table(box=None, header_style="bold")
    for name in ("metric, %", "average", "forgetting F(code)", "forgetting F(standard)"):
        table.add_column(name, justify="left" if name == "metric, %" else "right")
    names = {"a2v": "audio→video", "v2a": "video→audio"}
    for metric, s in by_metric.items():
        direction, _, what = metric.partition("_")
        recall = "mean R@1/5/10" if what == "avg" else what.replace("r", "R@")
        label = f"{names[direction]} {recall}"
        cells = [s.average, s.forgetting_code, s.forgetting_standard]
        table.add_row(label, *["–" if x is None else f"{x:.2f}" for x in cells])
    return table


def _plain(value: object) -> object:
    if isinstance(value, Summary):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value)} cannot be written as JSON")
