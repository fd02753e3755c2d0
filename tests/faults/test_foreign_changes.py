"""What other programs leave in a store: DuckDB's logs, sealed files in wrong places, loops."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from avstore.manifests.catalogue import open_read
from avstore.manifests.library import open_store
from avstore.manifests.snapshots import create_snapshot
from avstore.manifests.store import Store, StoreError
from avstore.train.data import sample_list
from tests.faults.outside import avstore

CHANGE = """
import duckdb, os, signal, sys
con = duckdb.connect(sys.argv[1], config={"checkpoint_threshold": "1GB"})
con.execute(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def change_and_die(database: Path, sql: str) -> Path:
    """Change a database in a program that is killed; return the log that it leaves."""
    done = subprocess.run([sys.executable, "-c", CHANGE, database, sql], check=False)
    assert done.returncode == -signal.SIGKILL
    log = database.with_name(f"{database.name}.wal")
    assert log.is_file()
    return log


def follow_until_sound(store: Store) -> None:
    """Run `verify`, what it advises, and `verify` again."""
    found = avstore("verify", "--store", store.root)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "verify --repair" in found.stdout
    repaired = avstore("verify", "--repair", "--store", store.root)
    assert repaired.returncode == 1, repaired.stderr
    again = avstore("verify", "--store", store.root)
    assert again.returncode == 0, again.stdout + again.stderr


def test_changes_of_another_program_are_refused_named_and_set_aside(store: Store) -> None:
    log = change_and_die(store.manifest, "UPDATE clips SET split = 'other'")
    for words in (["status"], ["sql", "FROM clips"], ["sql", "FROM clips", "--unsafe"]):
        done = avstore(*words, "--store", store.root)
        assert done.returncode == 2
        assert done.stderr.startswith(f"avstore: {log} holds changes")
        assert done.stderr.count("\n") == 1
    with pytest.raises(StoreError, match="another program"), open_store(str(store.root)) as opened:
        opened.query("FROM clips")
    follow_until_sound(store)
    with open_read(store) as con:
        assert con.execute("SELECT count(*) FROM clips WHERE split = 'other'").fetchall() == [(0,)]


def test_a_log_of_another_database_does_not_stop_index(store: Store, tmp_path: Path) -> None:
    """As after a rebuild beside a log that is older than it."""
    other = tmp_path / "other.duckdb"
    duckdb.connect(str(other)).close()
    log = change_and_die(other, "CREATE TABLE t AS SELECT 1 AS a")
    for suffix in (".wal", ".wal.checkpoint", ".wal.recovery"):
        shutil.copy(log, f"{store.manifest}{suffix}")
        shutil.copy(log, f"{store.work}{suffix}")
    done = avstore("index", "--store", store.root)
    assert done.returncode == 1
    assert done.stdout.count("manifest.duckdb.wal") == 3
    assert avstore("verify", "--store", store.root).returncode == 0


def test_changes_beside_a_snapshot_are_named_and_set_aside(store: Store) -> None:
    create_snapshot(store, "first")
    file = store.snapshots / "first.duckdb"
    os.chmod(file, 0o644)
    log = change_and_die(file, "CREATE TABLE t AS SELECT 1 AS a")
    for command in ("diff", "open"):
        done = avstore("snapshot", command, "first", "--store", store.root)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert str(log) in done.stderr
    follow_until_sound(store)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 'x') TO '{}' (FORMAT csv, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY (SELECT 'x') TO '{}' (FORMAT csv, USE_TMP_FILE false)",
        "WITH x AS (COPY (SELECT 'x') TO '{}' (FORMAT csv, USE_TMP_FILE false)) FROM x",
    ],
)
def test_a_query_cannot_write_to_the_paths_of_its_own_database(store: Store, query: str) -> None:
    before = store.manifest.read_bytes()
    (store.root / "manifest.duckdb.tmp").mkdir()
    listed = sorted(path.name for path in store.root.rglob("*"))
    for place in ("", ".wal", ".wal.checkpoint", ".wal.recovery", ".tmp/x.csv"):
        text = query.format(f"{store.manifest}{place}")
        done = avstore("sql", text, "--store", store.root)
        assert done.returncode == 2
        assert "--unsafe" in done.stderr
        with open_store(str(store.root)) as opened, pytest.raises(StoreError):
            sample_list(opened, text)
    assert store.manifest.read_bytes() == before
    assert sorted(path.name for path in store.root.rglob("*")) == listed


def test_a_query_larger_than_a_block_needs_no_file(store: Store) -> None:
    with open_read(store) as con:
        query = "SELECT count(*) FROM (SELECT random() AS x FROM range(2000000) ORDER BY x)"
        assert con.execute(query).fetchall() == [(2000000,)]


def test_a_link_to_itself_in_the_ledger_is_repaired(store: Store) -> None:
    path = next(store.ledger.glob("annotations/*/*/labels.parquet"))
    path.unlink()
    path.symlink_to(path.name)
    follow_until_sound(store)


def test_a_sealed_file_in_the_place_of_another_is_damage(store: Store) -> None:
    labels = next(store.ledger.glob("annotations/*/*/labels.parquet"))
    tasks = store.ledger / "stages.parquet"
    shutil.copy(tasks, labels)
    found = avstore("verify", "--store", store.root)
    assert f"{labels.relative_to(store.root)} is another file of a store" in found.stdout
    follow_until_sound(store)


def test_sealed_json_in_the_place_of_a_snapshots_facts_is_damage(store: Store) -> None:
    create_snapshot(store, "first")
    facts = next(store.ledger.glob("annotations/*/facts.json"))
    (store.snapshots / "first.json").chmod(0o644)
    shutil.copy(facts, store.snapshots / "first.json")
    found = avstore("verify", "--store", store.root)
    assert "snapshots/first.json does not describe a snapshot" in found.stdout
    follow_until_sound(store)
