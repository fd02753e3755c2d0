"""Bring the manifest up to what is on disk after a run that was killed."""

from manifests import ledger
from manifests.catalogue import Writer
from manifests.ingest import commit_shards, refresh_status, transaction
from manifests.rebuild import rebuild
from manifests.store import Store, remove_temporaries, sidecar_of
from pipelines.fetch.ledger import recover as recover_attempts


def recover(writer: Writer, store: Store) -> None:
    """Remove temporaries, take in what was committed and not yet told. Lock held.

    A store without a manifest gets one from its sidecars and ledger.
    """
    remove_temporaries(store)
    recover_attempts(store.root)
    if not store.manifest.is_file():
        rebuild(writer, store)
        return
    con = writer.con
    with transaction(con):
        if ledger.load_unfinished(con, store):
            refresh_status(con)
    planned = con.execute("SELECT shard FROM plans WHERE NOT done ORDER BY shard").fetchall()
    sidecars = [store.root / sidecar_of(shard) for (shard,) in planned]
    commit_shards(con, [path for path in sidecars if path.is_file()])
