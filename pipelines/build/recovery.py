"""Complete the manifest from the store's files after a run that was killed."""

import duckdb

from avstore.manifests import ledger
from avstore.manifests.advice import repair_command
from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import commit_shards, ingest_features, refresh_status, transaction
from avstore.manifests.names import sidecar_file
from avstore.manifests.partials import unneeded_partials
from avstore.manifests.rebuild import not_dropped, rebuild
from avstore.manifests.sealed import DamagedFileError, check_files
from avstore.manifests.store import Store, StoreError, remove_temporaries, shard_of
from avstore.pipelines.fetch.attempt_log import recover_attempts


def recover(writer: Writer, store: Store) -> None:
    """Remove files that no build continues, and ingest what was committed but not recorded.

    A store without a manifest gets one from its sidecars and ledger. The caller holds the lock.
    """
    remove_temporaries(store)
    recover_attempts(store.root)
    con = writer.con
    try:
        fresh = not store.manifest.is_file() or ledger.has_unapplied_drop(con, store)
    except DamagedFileError as error:
        raise StoreError(f"{error}; repair the store; run: {repair_command(store)}") from error
    if fresh:
        rebuild(writer, store)
    else:
        _ingest_new(con, store)
    for partial in unneeded_partials(con, store):
        partial.remove()


def _ingest_new(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Ingest what killed runs committed but did not record."""
    with transaction(con):
        if ledger.load_new_files(con, store):
            refresh_status(con)
    commit_finished(con, store)
    _ingest_companions(con, store)


def commit_finished(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Record the planned shards that workers finished and no driver recorded."""
    planned = con.execute("SELECT shard FROM plans WHERE NOT done ORDER BY shard").fetchall()
    sidecars = [sidecar_file(store, shard) for (shard,) in planned]
    checked = check_files(x for x in sidecars if x.is_file() and not store.leads_out(x))
    checked.log_damage()  # their shards are built again
    commit_shards(con, list(checked.digits))


def _ingest_companions(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Ingest companion shards that were committed but not recorded."""
    known = {row[0] for row in con.execute("SELECT DISTINCT shard FROM feature_samples").fetchall()}
    new = [
        path
        for path in not_dropped(con, store, store.feature_sidecars())
        if shard_of(path.relative_to(store.root)) not in known and not store.leads_out(path)
    ]
    checked = check_files(new)
    checked.log_damage()
    with transaction(con):
        ingest_features(con, list(checked.digits), checked=True)
