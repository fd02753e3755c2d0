"""The append-only part of the store: attempts, runs, plans and small tables, as Parquet."""

import json
import os
import platform
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from avstore.manifests.columns import table_schema
from avstore.manifests.names import check_rows
from avstore.manifests.path_text import valid_text, valid_value
from avstore.manifests.redact import redact, redact_values
from avstore.manifests.sealed import (
    CheckedFiles,
    check_files,
    require_sound_files,
    write_parquet,
)
from avstore.manifests.sequence import numbered, numbers
from avstore.manifests.store import Store

SMALL_TABLES = ("tasks", "stages", "features", "feature_problems", "dropped", "statistics")
"""Tables that the ledger keeps whole, in one file each."""

_NUMBERED = ("attempts", "runs")  # tables with a column seq


@dataclass(frozen=True)
class RunRecord:
    """A command that writes to the store.

    Attributes:
        run_id: Unique id; it begins with the start time.
        command: Command and its main arguments.
        config: Options as JSON.
        git_commit: Commit of the checkout, or None.
        host: Facts of the host as JSON.
        started_at: UTC time.
        seq: Number of its start (manifests/sequence.py), given when it is recorded.
    """

    run_id: str
    command: str
    config: str
    git_commit: str | None
    host: str
    started_at: datetime
    seq: int | None = None


def now() -> datetime:
    """Return the current UTC time without a zone, like every timestamp of the manifest."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_run(command: str, config: dict[str, object]) -> RunRecord:
    """Return the record of a run that starts now, with the facts of this host and checkout.

    Args:
        command: Command and its main arguments.
        config: Options to record as JSON.
    """
    started = now()
    host = {
        "node": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    return RunRecord(
        run_id=f"{started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        command=redact(valid_text(command)),
        config=json.dumps(redact_values(valid_value(config)), sort_keys=True, default=str),
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


def start_run(con: duckdb.DuckDBPyConnection, store: Store, run: RunRecord) -> RunRecord:
    """Record in the ledger that a run has begun, and return it with its number.

    A run that is killed keeps this row, without an end: `index` finds there how it was called.
    """
    started = replace(run, seq=next(numbers(con)))
    _save_run(con, store, started, None, None)
    return started


def finish_run(con: duckdb.DuckDBPyConnection, store: Store, run: RunRecord, outcome: str) -> None:
    """Record the end of a run in the manifest and in the ledger."""
    ended = run if run.seq is not None else replace(run, seq=next(numbers(con)))
    _save_run(con, store, ended, now(), outcome)
    note_files(con, check_files(store.ledger.glob(f"*-{run.run_id}*.parquet")))


def _save_run(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    run: RunRecord,
    ended_at: datetime | None,
    outcome: str | None,
) -> None:
    """Write the row of a run in place of an earlier one."""
    row = [
        run.run_id,
        run.command,
        run.config,
        run.git_commit,
        run.host,
        run.started_at,
        ended_at,
        outcome,
        run.seq,
    ]
    con.execute("DELETE FROM runs WHERE run_id = ?", [run.run_id])
    con.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    table = con.sql("SELECT * FROM runs WHERE run_id = ?", params=[run.run_id]).to_arrow_table()
    write_parquet(store.ledger / f"runs-{run.run_id}.parquet", table)


def save_plan(store: Store, run_id: str, plan: pa.Table) -> None:
    """Save which clips go into which shard, before any of them is built."""
    path = store.ledger / f"plans-{run_id}-{uuid.uuid4().hex[:6]}.parquet"
    write_parquet(path, plan.cast(table_schema("plans", without=("done",))))


def has_unapplied_drop(con: duckdb.DuckDBPyConnection, store: Store) -> bool:
    """Return whether the ledger records a drop that the manifest lacks, as after a kill.

    Raises:
        DamagedFileError: One of its files is damaged.
    """
    dropped, stages = (store.ledger / f"{name}.parquet" for name in ("dropped", "stages"))
    require_sound_files(path for path in (dropped, stages) if path.is_file())
    shards = "SELECT 1 FROM read_parquet(?) WHERE shard NOT IN (SELECT shard FROM dropped) LIMIT 1"
    if dropped.is_file() and con.execute(shards, [str(dropped)]).fetchall():
        return True
    empty = (
        "SELECT 1 FROM stages WHERE (dataset, stage) NOT IN "
        "(SELECT (dataset, stage) FROM read_parquet(?)) "
        "AND (dataset, fingerprint) NOT IN (SELECT (dataset, fingerprint) FROM shards)"
    )
    return stages.is_file() and bool(con.execute(empty, [str(stages)]).fetchall())


def save_table(con: duckdb.DuckDBPyConnection, store: Store, name: str) -> None:
    """Save a small table (tasks, stages, …) whole in the ledger, so that a rebuild restores it."""
    path = store.ledger / f"{name}.parquet"
    table = con.sql(f"SELECT * FROM {name} ORDER BY ALL").to_arrow_table()
    write_parquet(path, table)
    note_files(con, check_files([path]))


def load_ledger(con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles) -> None:
    """Fill an empty manifest from the ledger's sound files.

    Args:
        con: Writing connection.
        store: The store's paths.
        checked: The ledger's files, compared with their seals.
    """
    for table in ("attempts", "runs"):
        _insert(con, table, checked.sound(sorted(store.ledger.glob(f"{table}-*.parquet"))))
    for table in SMALL_TABLES:
        paths = checked.sound(sorted(store.ledger.glob(f"{table}*.parquet")))
        _insert(con, table, paths, distinct=True)
    _insert_plans(con, checked.sound(sorted(store.ledger.glob("plans-*.parquet"))))
    note_files(con, checked, store.ledger)


def load_new_files(con: duckdb.DuckDBPyConnection, store: Store) -> bool:
    """Ingest ledger files that the manifest lacks, as a killed run or another machine leaves them.

    A damaged file is left out, with a line in the log.

    Returns:
        Whether attempts or plans were added.
    """
    known = {row[0] for row in con.execute("SELECT name FROM ledger_files").fetchall()}
    checked = check_files(
        sorted(path for path in store.ledger.glob("*-*.parquet") if path.name not in known)
    )
    checked.log_damage()
    new = list(checked.digits)
    by_kind = {
        kind: [path for path in new if path.name.startswith(f"{kind}-")]
        for kind in ("attempts", "runs", "plans")
    }
    for table in ("attempts", "runs"):
        _insert(con, table, by_kind[table], distinct=True)
    _insert_plans(con, by_kind["plans"])
    note_files(con, checked)
    return bool(by_kind["attempts"] or by_kind["plans"])


def note_files(
    con: duckdb.DuckDBPyConnection, checked: CheckedFiles, folder: Path | None = None
) -> None:
    """Record that the rows of these files are in the manifest. folder: only of those in it."""
    rows = [
        {"name": path.name, "seal": digits}
        for path, digits in checked.digits.items()
        if folder in (None, path.parent) and path.suffix == ".parquet"
    ]
    con.register("noted", pa.Table.from_pylist(rows, schema=table_schema("ledger_files")))
    con.execute("DELETE FROM ledger_files WHERE name IN (SELECT name FROM noted)")
    con.execute("INSERT INTO ledger_files SELECT * FROM noted")
    con.unregister("noted")


def _insert(
    con: duckdb.DuckDBPyConnection, table: str, paths: Sequence[Path], distinct: bool = False
) -> None:
    """Insert the rows of files. distinct: only rows that the manifest lacks."""
    if not paths:
        return
    con.execute("SET VARIABLE ledger_paths = ?", [[str(path) for path in paths]])
    number = f"REPLACE ({numbered('seq', 'started_at')} AS seq)" if table in _NUMBERED else ""
    read = (
        f"SELECT * {number} FROM (SELECT * FROM {table} WHERE false UNION ALL BY NAME "
        "SELECT * FROM read_parquet(getvariable('ledger_paths'), union_by_name = true))"
    )
    if not distinct:
        con.execute(f"INSERT INTO {table} BY NAME {read}")
        return
    con.execute(f"CREATE OR REPLACE TEMP TABLE ledger_rows AS {read}")
    same = "WHERE run_id IN (SELECT DISTINCT run_id FROM ledger_rows)"
    there = f"SELECT * FROM {table} {same if table in _NUMBERED else ''}"
    con.execute(
        f"INSERT INTO {table} SELECT DISTINCT * FROM ledger_rows EXCEPT {there} ORDER BY ALL"
    )
    con.execute("DROP TABLE ledger_rows")


def _insert_plans(con: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    if not paths:
        return
    con.execute(
        "CREATE OR REPLACE TEMP TABLE ledger_plans AS SELECT * EXCLUDE (done) FROM plans LIMIT 0"
    )
    con.execute(
        "INSERT INTO ledger_plans BY NAME SELECT * FROM read_parquet(?, union_by_name = true)",
        [[str(path) for path in paths]],
    )
    names = con.sql("SELECT DISTINCT shard FROM ledger_plans").to_arrow_table()
    check_rows(names, {"shard": "shard"}, "ledger, plans")
    con.execute(
        "INSERT INTO plans BY NAME SELECT DISTINCT ON (shard) *, "
        "shard IN (SELECT shard FROM dropped) AS done FROM ledger_plans "
        "WHERE shard NOT IN (SELECT shard FROM plans) ORDER BY shard"
    )
    con.execute("DROP TABLE ledger_plans")
