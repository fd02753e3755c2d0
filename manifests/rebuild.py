"""Rebuild the manifest from the store: annotations, ledger, then every sidecar."""

from collections.abc import Container
from pathlib import Path

import duckdb

from avstore.manifests import annotation_sets as annotations
from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import ingest_features, ingest_sidecars, refresh_status, transaction
from avstore.manifests.schema import sql_name
from avstore.manifests.store import Store, StoreError, sidecar_of


def rebuild(writer: Writer, store: Store, without: Container[Path] = ()) -> int:
    """Fill the manifest from the store alone. The lock must be held.

    Args:
        writer: Writer of the manifest; its tables are cleared first.
        store: The store's paths.
        without: Sidecars to leave out.

    Returns:
        The number of base sidecars read.

    Raises:
        StoreError: A sidecar cannot be read.
    """
    con = writer.con
    with transaction(con):
        _clear(con)
        for published in annotations.load_annotations(store):
            annotations.replace_annotations(con, published)
        ledger.load_ledger(con, store)
        sidecars = not_dropped(con, store, [x for x in store.sidecars() if x not in without])
        companions = [x for x in store.feature_sidecars() if x not in without]
        try:
            ingest_sidecars(con, sidecars)
            ingest_features(con, not_dropped(con, store, companions))
        except duckdb.Error as error:
            raise StoreError(
                f"a sidecar cannot be read: {str(error).splitlines()[0]}; run "
                f"avstore verify --repair --store {store.root}"
            ) from error
        refresh_status(con)
    return len(sidecars)


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
