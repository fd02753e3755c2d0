"""Make the manifest again from the store: annotations and ledger, then every sidecar."""

from manifests import annotations, ledger
from manifests.catalogue import Writer
from manifests.ingest import ingest_sidecars, refresh_status, transaction
from manifests.store import Store


def rebuild(writer: Writer, store: Store) -> int:
    """Fill an empty manifest from the store; how many sidecars were read. Lock held."""
    con = writer.con
    sidecars = store.sidecars()
    with transaction(con):
        for published in annotations.load_all(store):
            annotations.ingest(con, published)
        ledger.load(con, store)
        ingest_sidecars(con, sidecars)
        con.execute("DROP TABLE IF EXISTS incoming")
        refresh_status(con)
    return len(sidecars)
