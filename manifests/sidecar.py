"""Write a shard's sidecar: a Parquet row per planned clip with all that the manifest needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from avstore.manifests.columns import arrow_table, skip_pandas_import, table_schema
from avstore.manifests.sealed import write_parquet

_SHARD = {"path": "shard", "clips": "shard_clips", "bytes": "shard_bytes", "sha256": "shard_sha256"}
_SHARED = ("clip_id", "fingerprint", "verdict", "detail", "extracted_at")
LATER_COLUMNS = {
    "quality_seq": "BIGINT",
    "quality_video_covered_fraction": "DOUBLE",
    "quality_audio_covered_fraction": "DOUBLE",
    "quality_largest_gap_s": "DOUBLE",
    "quality_repeated_frames": "INTEGER",
    "quality_loudest_dbfs": "DOUBLE",
    "quality_largest_change": "DOUBLE",
    "quality_brightest_luma": "INTEGER",
    "video_frames": "INTEGER",
    "video_rate": "DOUBLE",
    "gop_frames": "INTEGER",
    "gop_offsets": "INTEGER[]",
    "gop_crc32": "BIGINT[]",
    "video_codec": "VARCHAR",
}
"""Columns that sidecars of older versions lack, with their SQL types; the last of a sidecar."""

_LATER = ", ".join(f"NULL::{kind} AS {name}" for name, kind in LATER_COLUMNS.items())
NO_LATER_ROWS = f"SELECT {_LATER} WHERE false"
"""SQL of no rows with these columns: what is united with sidecars by name has them all."""

_COMPUTED = ("range_offset", "range_bytes")  # from offsets and sizes, when a sidecar is read


def _sidecar_columns(table: str) -> dict[str, str]:
    names = table_schema(table, without=_COMPUTED).names
    if table in {"media", "quality"}:
        return {name: name if name in _SHARED else f"{table}_{name}" for name in names}
    return {name: _SHARD.get(name, name) if table == "shards" else name for name in names}


SIDECAR_COLUMNS = {
    table: _sidecar_columns(table) for table in ("shards", "samples", "media", "quality")
}
"""Manifest table → its column → the sidecar column that holds it."""


def _schema() -> pa.Schema:
    types = {"stored": pa.bool_()}
    for table, columns in SIDECAR_COLUMNS.items():
        schema = table_schema(table)
        types |= {source: schema.field(name).type for name, source in columns.items()}
    shard, sample, media, quality = (columns.values() for columns in SIDECAR_COLUMNS.values())
    # The column order of existing sidecars, which must not change.
    names = dict.fromkeys((*shard, "clip_id", "stored", *_SHARED, *sample, *media, *quality))
    earlier = [name for name in names if name not in LATER_COLUMNS]
    return pa.schema([(name, types[name]) for name in (*earlier, *LATER_COLUMNS)])


SCHEMA = _schema()


def write_sidecar(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Commit the sidecar of a shard.

    Args:
        path: The sidecar file; replaced when it exists.
        rows: One mapping per clip, keyed as `SCHEMA`; absent keys are null.
    """
    skip_pandas_import()
    write_parquet(path, arrow_table(rows, SCHEMA))
