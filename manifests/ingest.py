"""Put what the driver learns into the manifest, one transaction each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from manifests.sidecar import MEDIA_COLUMNS, QUALITY_COLUMNS


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


_SAMPLE_COLUMNS = (
    "clip_id, shard, fingerprint, position, members, offsets, sizes, frame_count, frame_times, "
    "fbank_frames, duration_s, crc32"
)


def ingest_sidecars(con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path]) -> None:
    """Add the rows of these sidecars; a clip's later row replaces its earlier one.

    The caller refreshes `status` (`refresh_status`) in the same transaction.
    """
    if not sidecars:
        return
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE incoming AS
        SELECT * FROM read_parquet(?)
        """,
        [[str(path) for path in sidecars]],
    )
    con.execute("DELETE FROM shards WHERE path IN (SELECT shard FROM incoming)")
    con.execute(
        """
        INSERT INTO shards
        SELECT DISTINCT shard, dataset, recipe, fingerprint, split, shard_clips, shard_bytes,
               shard_sha256
        FROM incoming WHERE shard_sha256 IS NOT NULL ORDER BY shard
        """
    )
    con.execute("DELETE FROM samples WHERE shard IN (SELECT shard FROM incoming)")
    con.execute(
        f"INSERT INTO samples SELECT {_SAMPLE_COLUMNS} FROM incoming WHERE stored "
        "ORDER BY shard, position"
    )
    _replace_latest(con, "media", "clip_id", MEDIA_COLUMNS, "media")
    _replace_latest(con, "quality", "clip_id, fingerprint", QUALITY_COLUMNS, "quality")
    con.execute(
        """
        INSERT INTO stages
        SELECT DISTINCT recipe || '-' || left(fingerprint, 8), dataset, recipe, fingerprint
        FROM incoming
        WHERE (dataset, fingerprint) NOT IN (SELECT (dataset, fingerprint) FROM stages)
        """
    )
    con.execute("UPDATE plans SET done = true WHERE shard IN (SELECT shard FROM incoming)")


def _replace_latest(
    con: duckdb.DuckDBPyConnection, table: str, key: str, columns: tuple[str, ...], prefix: str
) -> None:
    """Keep one row per key in `table`: the latest extraction's."""
    listed = ", ".join(f"{prefix}_{name}" for name in columns)
    if table == "quality":
        chosen = f"clip_id, fingerprint, verdict, detail, {listed}, extracted_at"
    else:
        chosen = f"clip_id, {listed}"
    keys = f"({key})" if "," in key else key
    con.execute(f"DELETE FROM {table} WHERE {keys} IN (SELECT {keys} FROM incoming)")
    con.execute(
        f"INSERT INTO {table} SELECT {chosen} FROM incoming "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY extracted_at DESC, shard DESC) = 1"
        " ORDER BY clip_id"
    )


def refresh_status(con: duckdb.DuckDBPyConnection, clip_ids: pa.Table | None = None) -> None:
    """Make `status` equal to what the other tables say, for all clips or for these.

    clip_ids: an Arrow table with one column `clip_id`.
    """
    if clip_ids is None:
        con.execute("DELETE FROM status")
        con.execute("INSERT INTO status SELECT * FROM derived_status ORDER BY clip_id, stage")
        return
    con.register("changed", clip_ids)
    con.execute("DELETE FROM status WHERE clip_id IN (SELECT clip_id FROM changed)")
    con.execute(
        "INSERT INTO status SELECT * FROM derived_status "
        "WHERE clip_id IN (SELECT clip_id FROM changed) ORDER BY clip_id, stage"
    )
    con.unregister("changed")


def commit_shards(con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path]) -> None:
    """One transaction: the rows of finished shards and the status of their clips."""
    if not sidecars:
        return
    with transaction(con):
        ingest_sidecars(con, sidecars)
        ids = con.sql("SELECT DISTINCT clip_id FROM incoming").to_arrow_table()
        refresh_status(con, ids)
        con.execute("DROP TABLE incoming")
