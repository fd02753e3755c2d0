"""A manifest of an older version opens and is migrated."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from avstore.manifests import schema
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.sealed import write_parquet
from avstore.manifests.sidecar import LATER_COLUMNS
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verify import verify, verify_store
from avstore.pipelines.build.repair import repair_store

VERSIONS = Path(__file__).parent / "versions"


def restore(version: str, root: Path) -> Store:
    """Return a store of that version: its manifest without shards."""
    store, here = Store(root), VERSIONS / version
    root.mkdir()
    with duckdb.connect(str(store.manifest)) as con:
        con.execute((here / "schema.sql").read_text())
        con.execute((here / "load.sql").read_text().replace("{here}", str(here)))
    return store


@pytest.mark.parametrize("version", sorted(path.name for path in VERSIONS.iterdir()))
def test_an_older_store_opens_and_keeps_its_contents(version: str, tmp_path: Path) -> None:
    store = restore(version, tmp_path / "store")
    with duckdb.connect(str(store.manifest), read_only=True) as old:
        before = old.execute("SELECT clip_id, stage, status FROM status ORDER BY ALL").fetchall()
    with open_read(store) as con:
        assert schema.schema_version(con) == schema.SCHEMA_VERSION
        after = con.execute("SELECT clip_id, stage, status FROM status ORDER BY ALL").fetchall()
        missing = "SELECT count(*) FROM samples WHERE range_bytes IS NULL OR range_offset IS NULL"
        assert con.execute(missing).fetchone() == (0,)
        assert con.execute("SELECT count(*) FROM trainable").fetchone() == (9,)
        differing = [p for p in verify(con, store) if "status says" in p.what]
    assert after == before
    assert before
    assert differing == []


def test_a_migrated_manifest_has_the_columns_of_a_new_one(tmp_path: Path) -> None:
    columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY ALL"
    with open_read(restore("1", tmp_path / "old")) as con:
        migrated = con.execute(columns).fetchall()
    new = Store(tmp_path / "new")
    new.root.mkdir()
    with writing(new), open_write(new) as writer:
        assert writer.con.execute(columns).fetchall() == migrated


def test_a_newer_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = restore("1", tmp_path / "store")
    with duckdb.connect(str(store.manifest)) as con:
        con.execute("UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match=r"schema version 99.*supports at most 11: update avstore"):
        open_read(store)


def test_sidecars_without_later_columns_are_read_and_kept(store: Store) -> None:
    """A store built by an older version is rebuilt, verified and repaired as it is."""
    for path in store.sidecars():
        table = pq.read_table(path)
        write_parquet(path, table.drop(list(LATER_COLUMNS)))
    store.manifest.unlink()
    repair_store(store)
    assert not (store.root / "damaged").exists()
    assert verify_store(store) == []
    with open_read(store) as con:
        (row,) = con.execute(
            "SELECT count(*), count(silent_fraction), count(video_covered_fraction), "
            "count(audio_covered_fraction), count(largest_gap_s), count(repeated_frames) "
            "FROM quality"
        ).fetchall()
    assert row == (17, 17, 0, 0, 0, 0)
