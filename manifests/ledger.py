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
    table = con.execute("SELECT * FROM runs WHERE run_id = ?", [run.run_id]).to_arrow_table()
    with committing(store.ledger / f"runs-{run.run_id}.parquet") as file:
        pq.write_table(table, file)


def save_plan(store: Store, run_id: str, plan: pa.Table) -> None:
    """Write down which clips go into which shard before any of it is built."""
    with committing(store.ledger / f"plans-{run_id}-{uuid.uuid4().hex[:6]}.parquet") as file:
        pq.write_table(plan.cast(_PLANS), file, compression="zstd")


def save_table(con: duckdb.DuckDBPyConnection, store: Store, name: str) -> None:
    """Keep a small table (tasks, stages) whole in the ledger, so that a rebuild has it."""
    table = con.execute(f"SELECT * FROM {name} ORDER BY ALL").to_arrow_table()
    with committing(store.ledger / f"{name}.parquet") as file:
        pq.write_table(table, file)


def load(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Fill an empty manifest with what the ledger holds."""
    for table in ("attempts", "runs", "tasks", "stages"):
        paths = sorted(map(str, store.ledger.glob(f"{table}*.parquet")))
        if paths:
            con.execute(
                f"INSERT INTO {table} BY NAME SELECT DISTINCT * FROM "
                "read_parquet(?, union_by_name = true) ORDER BY ALL",
                [paths],
            )
    plans = sorted(map(str, store.ledger.glob("plans-*.parquet")))
    if plans:
        con.execute(
            "INSERT INTO plans SELECT DISTINCT ON (shard) shard, dataset, stage, split, number, "
            "clip_ids, false FROM read_parquet(?) ORDER BY shard",
            [plans],
        )
