"""Rebuild the manifest from the store: annotations, ledger, then every sidecar."""

from collections.abc import Container
from contextlib import suppress
from pathlib import Path

import duckdb

from avstore.manifests import annotation_sets as annotations
from avstore.manifests import ledger
from avstore.manifests.advice import repair_command
from avstore.manifests.catalogue import Writer, open_guarded
from avstore.manifests.ingest import ingest_features, ingest_sidecars, refresh_status, transaction
from avstore.manifests.inventory import indexed_files
from avstore.manifests.manifest_hash import sound_hash
from avstore.manifests.schema import sql_name
from avstore.manifests.sealed import CheckedFiles, check_files
from avstore.manifests.store import Store, StoreError, sidecar_of


def rebuild(
    writer: Writer,
    store: Store,
    without: Container[Path] = (),
    checked: CheckedFiles | None = None,
) -> int:
    """Fill the manifest from the store alone. The lock must be held.

    Damaged files are left out, with a line in the log.

    Args:
        writer: Writer of the manifest; its tables are cleared first.
        store: The store's paths.
        without: Sidecars to leave out.
        checked: The files of `indexed_files`, compared with their seals. Default: done here.

    Returns:
        The number of base sidecars read.

    Raises:
        StoreError: A sidecar cannot be read.
    """
    if checked is None:
        checked = check_files(indexed_files(store))
        checked.log_damage()
    with transaction(writer.con):
        _clear(writer.con)
        return fill(writer.con, store, checked, without)


def fill(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    checked: CheckedFiles,
    without: Container[Path] = (),
) -> int:
    """Fill an empty manifest from the store's sound files, inside a transaction.

    Args:
        con: Writing connection.
        store: The store's paths.
        checked: The files of `indexed_files`, compared with their seals.
        without: Sidecars to leave out.

    Returns:
        The number of base sidecars read.

    Raises:
        StoreError: A sidecar cannot be read.
    """
    for published in annotations.load_annotations(store, checked):
        annotations.replace_annotations(con, published)
    ledger.load_ledger(con, store, checked)
    _restore_tables(con, store, checked)
    sidecars = [x for x in checked.sound(store.sidecars()) if x not in without]
    sidecars = not_dropped(con, store, sidecars)
    companions = [x for x in checked.sound(store.feature_sidecars()) if x not in without]
    try:
        ingest_sidecars(con, sidecars)
        ingest_features(con, not_dropped(con, store, companions), checked=True)
    except duckdb.Error as error:
        raise StoreError(
            f"a sidecar cannot be read: {str(error).splitlines()[0]}; run: {repair_command(store)}"
        ) from error
    refresh_status(con)
    return len(sidecars)


def _restore_tables(con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles) -> None:
    """Take small tables whose file is damaged from the published manifest, if that is sound."""
    damaged = [
        name for name in ledger.SMALL_TABLES if store.ledger / f"{name}.parquet" in checked.damage
    ]
    if not damaged or sound_hash(store) is None:
        return
    with open_guarded(store.manifest) as published:
        for name in damaged:
            with suppress(duckdb.Error):  # an older manifest may lack the table
                rows = published.sql(f"FROM {sql_name(name)}").to_arrow_table()
                con.register("restored", rows)
                con.execute(f"INSERT INTO {sql_name(name)} BY NAME FROM restored")
                con.unregister("restored")


def _clear(con: duckdb.DuckDBPyConnection) -> None:
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND table_name <> 'meta'"
    ).fetchall()
    for (table,) in tables:
        con.execute(f"DELETE FROM {sql_name(table)}")


def not_dropped(con: duckdb.DuckDBPyConnection, store: Store, sidecars: list[Path]) -> list[Path]:
    """Return the sidecars whose shards were not dropped."""
    names = con.execute("SELECT shard FROM dropped").fetchall()
    gone = {store.root / sidecar_of(name) for (name,) in names}
    return [path for path in sidecars if path not in gone]
