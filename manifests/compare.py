"""Compare the manifest's tables with those that a rebuild from the store gives."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from avstore.manifests import commands, schema
from avstore.manifests.catalogue import configure, guard
from avstore.manifests.ingest import transaction
from avstore.manifests.inventory import LOG_PATTERN
from avstore.manifests.lock import current_writer, killed_writer
from avstore.manifests.problem import Problem
from avstore.manifests.rebuild import fill, not_dropped
from avstore.manifests.schema import sql_name
from avstore.manifests.sealed import CheckedFiles, read_json
from avstore.manifests.store import Store, shard_of, sidecar_of
from avstore.manifests.streams import sql_literal

_NOT_COMPARED = ("meta", "ledger_files")  # `verify_files` compares the latter


def reason_to_skip(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> str | None:
    """Return why manifest and files may differ in a sound store; None if they must agree.

    While a build runs and after one was killed, files are ahead of the manifest.
    """
    if checked.damage:
        return "some files are damaged"
    if writer := current_writer(store):
        return f"the store is being written by {writer}"
    if writer := killed_writer(store):
        index = commands.avstore("index", store=store.root)
        return f"{writer} was killed; the next build completes the manifest; run: {index}"
    waiting = next(_waiting(con, store, checked), None)
    if waiting:
        name = waiting.relative_to(store.root)
        index = commands.avstore("index", store=store.root)
        return f"{name} is not in the manifest yet; the next build adds it; run: {index}"
    return None


def _waiting(con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles) -> Iterator[Path]:
    """Yield files that the manifest was not made from."""
    yield from store.ledger.glob(LOG_PATTERN)
    known = dict(con.execute("SELECT name, seal FROM ledger_files").fetchall())
    for path in sorted(store.ledger.glob("*.parquet")):
        if path.name not in known or known[path.name] not in (None, checked.digits.get(path)):
            yield path
    planned = con.execute("SELECT shard FROM plans WHERE NOT done ORDER BY shard").fetchall()
    yield from (x for (s,) in planned if (x := store.root / sidecar_of(s)).is_file())
    shards = con.execute("SELECT DISTINCT shard FROM feature_samples").fetchall()
    for path in not_dropped(con, store, store.feature_sidecars()):
        if (shard_of(path.relative_to(store.root)),) not in shards:
            yield path
    yield from _annotations(con, store)


def _annotations(con: duckdb.DuckDBPyConnection, store: Store) -> Iterator[Path]:
    rows = con.execute("SELECT name, annotation_sha256, ingested_at FROM datasets").fetchall()
    known = {name: (sha256, stamp.isoformat()) for name, sha256, stamp in rows}
    for path in sorted(store.ledger.glob("annotations/*/facts.json")):
        facts = read_json(path)
        if known.get(facts["name"]) != (facts["annotation_sha256"], facts["ingested_at"]):
            yield path


def compare_with_rebuild(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[Problem]:
    """Yield every table of the manifest that differs from a rebuild, with an example row.

    Args:
        con: Connection to the manifest.
        store: The store's paths.
        checked: The files of `indexed_files`, compared with their seals.
    """
    with (
        tempfile.TemporaryDirectory(prefix="avstore-verify-") as folder,
        duckdb.connect(str(Path(folder) / "rebuilt.duckdb")) as rebuilt,
    ):
        configure(rebuilt)
        schema.create_schema(rebuilt)
        with transaction(rebuilt):
            fill(rebuilt, store, checked)
        differing = [table for table in _tables(rebuilt) if _differs(con, rebuilt, table)]
        if differing:
            path = sql_literal(str(store.manifest))
            rebuilt.execute(f"ATTACH {path} AS published (READ_ONLY)")
            guard(rebuilt)
        for table in differing:
            yield Problem("manifest.duckdb", _describe(rebuilt, table))


def _tables(con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows if name not in _NOT_COMPARED]


def _columns(con: duckdb.DuckDBPyConnection, table: str) -> str:
    return ", ".join(
        sql_name(row[0]) for row in con.execute(f"DESCRIBE {sql_name(table)}").fetchall()
    )


def _differs(
    con: duckdb.DuckDBPyConnection, rebuilt: duckdb.DuckDBPyConnection, table: str
) -> bool:
    """Compare the number and the sum of hashes of the rows, which needs no sort and no memory."""
    query = (
        f"SELECT count(*), sum(hash({_columns(rebuilt, table)})::HUGEINT) FROM {sql_name(table)}"
    )
    try:
        return con.execute(query).fetchall() != rebuilt.execute(query).fetchall()
    except duckdb.Error:
        return True


def _describe(rebuilt: duckdb.DuckDBPyConnection, table: str) -> str:
    columns, name = _columns(rebuilt, table), sql_name(table)
    here, there = f"SELECT {columns} FROM published.{name}", f"SELECT {columns} FROM main.{name}"
    try:
        only = [_only(rebuilt, *pair) for pair in ((here, there), (there, here))]
    except duckdb.Error as error:
        return f"table {table} cannot be compared with a rebuild: {str(error).splitlines()[0]}"
    (extra, example), (lacking, other) = only
    return (
        f"table {table} has {extra} rows that a rebuild does not give and lacks {lacking}, for "
        f"example {example or other}"
    )


def _only(con: duckdb.DuckDBPyConnection, these: str, those: str) -> tuple[int, str]:
    """Return the number of rows of one query that another lacks, and the beginning of one."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE lacking AS ({these} EXCEPT ALL {those})")
    rows = con.execute(
        "SELECT (SELECT count(*) FROM lacking), lacking::VARCHAR FROM lacking LIMIT 1"
    )
    found = rows.fetchall()
    return (int(found[0][0]), str(found[0][1])[:160]) if found else (0, "")
