"""Ingest the sidecars of finished shards into the manifest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from avstore.manifests import status
from avstore.manifests.sealed import require_sound_files
from avstore.manifests.sequence import numbered
from avstore.manifests.sidecar import NO_LATER_ROWS, SIDECAR_COLUMNS
from avstore.manifests.sidecar_check import refuse_misnamed
from avstore.manifests.status import refresh_status

__all__ = ["commit_shards", "ingest_features", "ingest_sidecars", "refresh_status", "transaction"]


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in one transaction; roll back on any error."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


_CHOSEN = {table: ", ".join(columns.values()) for table, columns in SIDECAR_COLUMNS.items()}
# The range starts at the first member's tar header and ends at the last member's padding.
_SAMPLE = (
    f"{_CHOSEN['samples']}, offsets[1] - 512 AS range_offset, "
    "offsets[-1] + (sizes[-1]::BIGINT + 511) // 512 * 512 - offsets[1] + 512 AS range_bytes"
)
# Sidecars of older versions lack later columns, and have no number.
_SIDECARS = (
    f"(SELECT * REPLACE ({numbered('quality_seq', 'extracted_at')} AS quality_seq) FROM "
    "(SELECT * FROM read_parquet(getvariable('sidecars'), union_by_name = true) "
    f"UNION ALL BY NAME {NO_LATER_ROWS}))"
)
_KEYS = {"media": "clip_id", "quality": "clip_id, fingerprint"}


def ingest_sidecars(con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path]) -> None:
    """Add all rows of sidecars to a manifest that has none of them, as a rebuild does.

    Rows are read in the order of the files, so that nothing is sorted or copied. The caller has
    checked their seals, and refreshes `status`.
    """
    if not sidecars:
        return
    refuse_misnamed(con, sidecars)
    con.execute("SET VARIABLE sidecars = ?", [[str(path) for path in sidecars]])
    source = _SIDECARS
    _insert_shards(con, source)
    con.execute(f"INSERT INTO samples BY NAME SELECT {_SAMPLE} FROM {source} WHERE stored")
    (once,) = con.execute(f"SELECT count(*) = count(DISTINCT clip_id) FROM {source}").fetchall()[0]
    for table in _KEYS:
        _insert_latest(con, table, source, choose=not once)


def _insert_shards(con: duckdb.DuckDBPyConnection, source: str) -> None:
    """Insert rows of `shards` and `stages`, and mark the planned shards as done."""
    con.execute(f"INSERT INTO shards SELECT {_CHOSEN['shards']} FROM {source} WHERE position = 0")
    con.execute(
        f"""
        INSERT INTO stages
        SELECT DISTINCT recipe || '-' || left(fingerprint, 8), dataset, recipe, fingerprint
        FROM {source}
        WHERE (dataset, fingerprint) NOT IN (SELECT (dataset, fingerprint) FROM stages)
        """
    )
    con.execute(
        f"UPDATE plans SET done = true WHERE NOT done AND shard IN (SELECT shard FROM {source})"
    )


def _insert_latest(
    con: duckdb.DuckDBPyConnection, table: str, source: str, choose: bool = True
) -> None:
    """Add rows of `media` or `quality`. choose: only the last extraction of each clip."""
    latest = (
        f"QUALIFY row_number() OVER (PARTITION BY {_KEYS[table]} "
        "ORDER BY quality_seq DESC, shard DESC) = 1"
    )
    con.execute(
        f"INSERT INTO {table} SELECT {_CHOSEN[table]} FROM {source} {latest if choose else ''}"
    )


def commit_shards(
    con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path], hint: tuple[int, int] | None = None
) -> None:
    """Ingest finished shards and update the status of their clips, in one transaction.

    A clip's later row replaces its earlier one.

    Args:
        con: Writing connection.
        sidecars: Sidecars of the shards.
        hint: Expected first and last `clips.position` of the clips. Default: the plan's.

    Raises:
        DamagedFileError: A sidecar differs from its seal, or cannot be read.
    """
    if not sidecars:
        return
    require_sound_files(sidecars)
    refuse_misnamed(con, sidecars)
    with transaction(con):
        con.execute("SET VARIABLE sidecars = ?", [[str(path) for path in sidecars]])
        con.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT * FROM {_SIDECARS}")
        span = status.position_span(con, "incoming", hint or _planned_span(con))
        before = status.extraction_states(con, span) if span and _stages_known(con) else None
        _remove_earlier(con, before)
        _insert_shards(con, "incoming")
        con.execute(f"INSERT INTO samples BY NAME SELECT {_SAMPLE} FROM incoming WHERE stored")
        _insert_latest(con, "media", "incoming")
        _insert_latest(con, "quality", "incoming")
        if span is None or before is None or (True, "stored") in before:
            _refresh_long(con, new_stage=before is None and span is not None)
        else:
            status.note_extracted(con, span)
        con.execute("DROP TABLE incoming")


def _planned_span(con: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
    (row,) = con.execute(
        "SELECT min(first_position), max(last_position), count(*) = count(first_position) "
        "FROM plans WHERE shard IN (SELECT shard FROM incoming)"
    ).fetchall()
    return (row[0], row[1]) if row[0] is not None and row[2] else None


def _stages_known(con: duckdb.DuckDBPyConnection) -> bool:
    new = con.execute(
        "SELECT 1 FROM incoming WHERE (dataset, fingerprint) NOT IN "
        "(SELECT (dataset, fingerprint) FROM stages) LIMIT 1"
    ).fetchall()
    twice = con.execute(
        "SELECT 1 FROM incoming GROUP BY clip_id HAVING count(*) > 1 LIMIT 1"
    ).fetchall()
    return not new and not twice


def _remove_earlier(con: duckdb.DuckDBPyConnection, before: set[tuple[bool, str]] | None) -> None:
    """Delete the rows that `incoming` replaces. before: None if it is unknown which exist."""
    extracted = {own for own, found in before or () if found in ("stored", "rejected", "retryable")}
    if before is None or (True, "stored") in before:
        con.execute("DELETE FROM shards WHERE path IN (SELECT shard FROM incoming)")
        con.execute("DELETE FROM samples WHERE shard IN (SELECT shard FROM incoming)")
    if before is None or True in extracted:
        con.execute(
            "DELETE FROM quality WHERE (clip_id, fingerprint) IN "
            "(SELECT (clip_id, fingerprint) FROM incoming)"
        )
    if before is None or extracted:
        con.execute("DELETE FROM media WHERE clip_id IN (SELECT clip_id FROM incoming)")


def _refresh_long(con: duckdb.DuckDBPyConnection, new_stage: bool) -> None:
    ids = con.sql("SELECT DISTINCT clip_id FROM incoming").to_arrow_table()
    refresh_status(con, None if new_stage else ids)


def ingest_features(
    con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path], checked: bool = False
) -> None:
    """Ingest the sidecars of companion shards; a shard's later rows replace its earlier ones.

    Run it inside a transaction. A dropped feature that was computed again is no longer dropped;
    save the table `dropped` in the ledger afterwards.

    Args:
        con: Writing connection.
        sidecars: Sidecars with the columns of `feature_samples`.
        checked: Their seals were checked already.

    Raises:
        DamagedFileError: A sidecar differs from its seal, or cannot be read.
    """
    if not sidecars:
        return
    if not checked:
        require_sound_files(sidecars)
    refuse_misnamed(con, sidecars)
    paths = [str(path) for path in sidecars]
    con.execute("SET VARIABLE sidecars = ?", [paths])
    source = "read_parquet(getvariable('sidecars'), union_by_name = true)"
    con.execute(f"DELETE FROM feature_samples WHERE shard IN (SELECT DISTINCT shard FROM {source})")
    con.execute(f"INSERT INTO feature_samples BY NAME SELECT {_FEATURE} FROM {source}")
    con.execute("DELETE FROM dropped WHERE shard IN (SELECT shard FROM feature_samples)")


_FEATURE = (
    'shard, feature, fingerprint, clip_id, position, "offset", size, '
    "CAST(shape AS VARCHAR) AS shape, dtype, source_sha256, crc32"
)
