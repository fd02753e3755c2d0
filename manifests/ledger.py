"""The append-only part of the store: attempts, runs, plans and registered tasks, as Parquet."""

import json
import os
import platform
import subprocess
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.store import Store, committing

_PLANS = pa.schema(
    [
        ("shard", pa.string()),
        ("dataset", pa.string()),
        ("stage", pa.string()),
        ("split", pa.string()),
        ("number", pa.int32()),
        ("clip_ids", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Run:
    """One command that writes to the store."""

    run_id: str
    command: str
    config: str
    git_commit: str | None
    host: str
    started_at: datetime


def now() -> datetime:
    """UTC without a zone, as every timestamp of the manifest."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_run(command: str, config: dict[str, object]) -> Run:
    """A run that starts now, with the facts of this host and checkout."""
    started = now()
    host = {
        "node": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    return Run(
        run_id=f"{started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        command=command,
        config=json.dumps(config, sort_keys=True, default=str),
        git_commit=_git_commit(),
        host=json.dumps(host, sort_keys=True),
        started_at=started,
    )


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def finish_run(con: duckdb.DuckDBPyConnection, store: Store, run: Run, outcome: str) -> None:
    """Record a run's end in the manifest and in the ledger."""
    row = [
        run.run_id,
        run.command,
        run.config,
        run.git_commit,
        run.host,
        run.started_at,
        now(),
        outcome,
    ]
    con.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    table = con.sql("SELECT * FROM runs WHERE run_id = ?", params=[run.run_id]).to_arrow_table()
    with committing(store.ledger / f"runs-{run.run_id}.parquet") as file:
        pq.write_table(table, file)


def save_plan(store: Store, run_id: str, plan: pa.Table) -> None:
    """Write down which clips go into which shard before any of it is built."""
    with committing(store.ledger / f"plans-{run_id}-{uuid.uuid4().hex[:6]}.parquet") as file:
        pq.write_table(plan.cast(_PLANS), file, compression="zstd")


def save_table(con: duckdb.DuckDBPyConnection, store: Store, name: str) -> None:
    """Keep a small table (tasks, stages) whole in the ledger, so that a rebuild has it."""
    table = con.sql(f"SELECT * FROM {name} ORDER BY ALL").to_arrow_table()
    with committing(store.ledger / f"{name}.parquet") as file:
        pq.write_table(table, file)


def load(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Fill an empty manifest with what the ledger holds."""
    for table in ("attempts", "runs", "tasks", "stages"):
        _insert(con, table, sorted(map(str, store.ledger.glob(f"{table}*.parquet"))))
    _insert_plans(con, sorted(map(str, store.ledger.glob("plans-*.parquet"))))


def load_unfinished(con: duckdb.DuckDBPyConnection, store: Store) -> bool:
    """Take in attempts and plans of runs whose end the manifest does not know; were there any."""
    finished = {row[0] for row in con.execute("SELECT run_id FROM runs").fetchall()}
    paths = [
        path
        for path in sorted(store.ledger.glob("*-*.parquet"))
        if not any(run_id in path.name for run_id in finished)
    ]
    attempts = [str(path) for path in paths if path.name.startswith("attempts-")]
    plans = [str(path) for path in paths if path.name.startswith("plans-")]
    _insert(con, "attempts", attempts)
    _insert_plans(con, plans)
    return bool(attempts or plans)


def _insert(con: duckdb.DuckDBPyConnection, table: str, paths: list[str]) -> None:
    """Add the files' rows that are not there yet."""
    if not paths:
        return
    con.execute(f"CREATE TEMP TABLE ledger_rows AS SELECT * FROM {table} LIMIT 0;")
    con.execute(
        "INSERT INTO ledger_rows BY NAME SELECT * FROM read_parquet(?, union_by_name = true)",
        [paths],
    )
    con.execute(
        f"INSERT INTO {table} SELECT DISTINCT * FROM ledger_rows EXCEPT SELECT * FROM {table} "
        "ORDER BY ALL"
    )
    con.execute("DROP TABLE ledger_rows")


def _insert_plans(con: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    if paths:
        con.execute(
            "INSERT INTO plans SELECT DISTINCT ON (shard) shard, dataset, stage, split, number, "
            "clip_ids, false FROM read_parquet(?) "
            "WHERE shard NOT IN (SELECT shard FROM plans) ORDER BY shard",
            [paths],
        )
