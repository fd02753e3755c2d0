"""Write back lost files of the ledger from the published manifest, which has the same rows."""

from pathlib import Path

import duckdb
import pyarrow as pa

from avstore.manifests import annotation_sets as annotations
from avstore.manifests import ledger
from avstore.manifests.catalogue import open_guarded
from avstore.manifests.columns import table_schema
from avstore.manifests.manifest_hash import sound_hash
from avstore.manifests.sealed import CheckedFiles, read_parquet, write_parquet
from avstore.manifests.store import Store

# The rows of a lost file: those of its run that are in no sound file.
_ROWS = {
    "attempts": "SELECT * FROM attempts a WHERE starts_with($name, 'attempts-' || run_id) AND NOT "
    "EXISTS (SELECT 1 FROM kept k WHERE k.clip_id = a.clip_id AND k.stage = a.stage "
    "AND k.started_at IS NOT DISTINCT FROM a.started_at AND k.run_id = a.run_id)",
    "runs": "SELECT * FROM runs WHERE $name = 'runs-' || run_id || '.parquet'",
    "plans": "SELECT * EXCLUDE (done) FROM plans WHERE shard NOT IN (SELECT shard FROM kept)",
}


def restore_ledger(store: Store, checked: CheckedFiles) -> list[str]:
    """Write lost ledger files again; return the names of those that were written.

    Damaged files must have been moved away. The lock must be held.

    Args:
        store: The store's paths.
        checked: The files of `indexed_files`, compared with their seals.
    """
    if not store.manifest.is_file() or sound_hash(store) is None:
        return []
    with open_guarded(store.manifest) as con:
        try:
            names = [row[0] for row in con.execute("SELECT name FROM ledger_files").fetchall()]
            lost = sorted(name for name in names if not (store.ledger / name).is_file())
            restored = [name for name in lost if _restore(con, store, name)]
            return restored + _restore_annotations(con, store, checked)
        except duckdb.Error:  # a manifest of an older version
            return []


def _restore(con: duckdb.DuckDBPyConnection, store: Store, name: str) -> bool:
    """Write the rows of one lost file; return whether there are any."""
    path, table = store.ledger / name, name.removesuffix(".parquet")
    if table in ledger.SMALL_TABLES:
        write_parquet(path, con.sql(f"SELECT * FROM {table} ORDER BY ALL").to_arrow_table())
        return True
    kind = name.partition("-")[0]
    if kind not in _ROWS:
        return False
    con.register("kept", _kept(kind, sorted(store.ledger.glob(f"{kind}-*.parquet"))))
    rows = con.sql(_ROWS[kind], params=_params(kind, name)).to_arrow_table()
    con.unregister("kept")
    if rows.num_rows:
        write_parquet(path, rows)
    return bool(rows.num_rows)


def _params(kind: str, name: str) -> dict[str, str]:
    return {} if kind == "plans" else {"name": name}


def _kept(kind: str, paths: list[Path]) -> pa.Table:
    """Return the columns that identify the rows of the files that are left."""
    columns = {"attempts": ["clip_id", "stage", "started_at", "run_id"], "plans": ["shard"]}
    schema = pa.schema([table_schema(kind).field(name) for name in columns.get(kind, ["run_id"])])
    tables = [read_parquet(path, schema.names).cast(schema) for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables])


def _restore_annotations(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> list[str]:
    """Write the annotations of datasets again of which a file is lost or damaged."""
    restored = []
    for (name,) in con.execute("SELECT name FROM datasets ORDER BY 1").fetchall():
        folder = store.ledger / "annotations" / name
        files = [x for x in annotations.annotation_files(store) if x.is_relative_to(folder)]
        if len(files) < 5 or any(x in checked.damage or not x.is_file() for x in files):
            annotations.save_annotations(store, annotations.published_annotations(con, name))
            restored.append(f"annotations/{name}")
    return restored
