"""Drop a recipe's shards or a derived feature from the manifest, for good.

The ledger (`dropped.parquet`) records the drop before any row is deleted, so that no rebuild
restores it; the files stay until `gc`. Plans stay as done, so that no later shard reuses a name.
"""

import duckdb
import pyarrow as pa

from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import transaction
from avstore.manifests.nearest import did_you_mean
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store, StoreError


def drop_stage(writer: Writer, store: Store, dataset: str, stage: str) -> int:
    """Drop all shards of an extraction stage and their features, and rebuild the manifest.

    The lock must be held.

    Returns:
        The number of shards that were dropped.

    Raises:
        StoreError: The dataset has no such stage.
    """
    con = writer.con
    known = con.execute("SELECT dataset, stage FROM stages ORDER BY ALL").fetchall()
    if (dataset, stage) not in known:
        names = ", ".join(" ".join(row) for row in known) or "none"
        hint = did_you_mean(stage, [row[1] for row in known])
        raise StoreError(f"{dataset} has no stage {stage!r}{hint}; the store has: {names}")
    shards = con.sql(
        "SELECT shard FROM plans WHERE starts_with(shard, $folder) UNION "
        "SELECT path FROM shards WHERE starts_with(path, $folder) UNION "
        "SELECT shard FROM feature_samples WHERE starts_with(shard, $folder)",
        params={"folder": f"shards/{dataset}/{stage}/"},
    ).to_arrow_table()
    with transaction(con):
        con.execute("DELETE FROM stages WHERE dataset = ? AND stage = ?", [dataset, stage])
        count = _record_dropped(con, store, shards)
    ledger.save_table(con, store, "stages")
    rebuild(writer, store)
    return count


def drop_feature(
    con: duckdb.DuckDBPyConnection, store: Store, feature: str, fingerprint: str
) -> int:
    """Drop a derived feature's companion shards; return their number. The lock must be held."""
    key = [feature, fingerprint]
    shards = con.sql(
        "SELECT DISTINCT shard FROM feature_samples WHERE feature = ? AND fingerprint = ?",
        params=key,
    ).to_arrow_table()
    with transaction(con):
        count = _record_dropped(con, store, shards)
        con.execute("DELETE FROM feature_samples WHERE feature = ? AND fingerprint = ?", key)
        for table in ("features", "feature_problems"):
            con.execute(f"DELETE FROM {table} WHERE feature = ? AND fingerprint = ?", key)
    ledger.save_table(con, store, "features")
    ledger.save_table(con, store, "feature_problems")
    return count


def _record_dropped(con: duckdb.DuckDBPyConnection, store: Store, shards: pa.Table) -> int:
    """Record the shards as dropped in manifest and ledger; return how many are new."""
    con.register("newly_dropped", shards)
    new = con.execute(
        "INSERT INTO dropped SELECT shard, ? FROM newly_dropped "
        "WHERE shard NOT IN (SELECT shard FROM dropped)",
        [ledger.now()],
    ).fetchall()
    con.unregister("newly_dropped")
    ledger.save_table(con, store, "dropped")
    return int(new[0][0])
