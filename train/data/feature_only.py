"""Samples of clips that have derived features and no base shard: released features, imported."""

import hashlib
from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from avstore.train.data.member_packing import NO_PLACE

_COLUMNS = "clip_id, shard, position, members, frame_count, fbank_frames, crc32"
_STORED = f"SELECT {_COLUMNS}, rowid AS place FROM samples"
_SAMPLES = f"({_STORED} UNION ALL SELECT {_COLUMNS}, {NO_PLACE} AS place FROM feature_only)"
_ROWS = """
CREATE TEMP TABLE feature_only AS
SELECT w.clip_id, f0.shard, f0.position, '' AS members, 0 AS frame_count, 0 AS fbank_frames,
       NULL::BIGINT AS crc32
FROM wanted w {joins}
WHERE w.clip_id NOT IN (SELECT clip_id FROM samples)
"""
_SHARDS = """
INSERT INTO stage_shards
SELECT shard, '', 0, split_part(shard, '/', 2),
       (row_number() OVER (ORDER BY shard) - 1
        + (SELECT coalesce(max(number) + 1, 0) FROM stage_shards))::INTEGER
FROM (SELECT DISTINCT shard FROM feature_only)
"""
_ALONE = """
SELECT feature, count(DISTINCT clip_id) AS clips FROM feature_samples
WHERE is_imported(shard) AND clip_id IN (SELECT clip_id FROM wanted) GROUP BY ALL ORDER BY feature
"""


def find_feature_rows(con: duckdb.DuckDBPyConnection, features: Sequence[str]) -> str:
    """Add the wanted clips without a base shard that have all features; return the samples' SQL.

    Their shard is that of the first feature. The tables feature_0, feature_1, … hold the features.
    """
    if not features:
        return f"({_STORED})"
    joins = " ".join(f"JOIN feature_{n} f{n} USING (clip_id)" for n in range(len(features)))
    con.execute(_ROWS.format(joins=joins))
    if con.execute("SELECT count(*) FROM feature_only").fetchall() == [(0,)]:
        return f"({_STORED})"
    con.execute(_SHARDS)
    return _SAMPLES


def contents_digest(table: pa.Table, features: Sequence[str], companions: Sequence[str]) -> str:
    """Return the sha256 of the checksums of imported values, '' without any.

    The name of an imported shard does not tell its contents.
    """
    if not any(path.split("/")[2:3] == ["imported"] for path in companions):
        return ""
    digest = hashlib.sha256()
    for feature in features:
        values = table[f"{feature} crc32"].combine_chunks().fill_null(-1)
        digest.update(np.asarray(values.to_numpy(zero_copy_only=False), np.int64).tobytes())
    return digest.hexdigest()


def describe_features(con: duckdb.DuckDBPyConnection, features: Sequence[str]) -> str:
    """Return which imported features the wanted clips have, for the error of an empty list."""
    found = con.execute(_ALONE).fetchall()
    if not found:
        return ""
    listed = ", ".join(f"{name} ({clips} clips)" for name, clips in found)
    names = list(features) or [name for name, _ in found]
    advice = "" if features else f"; to read them, use sample_list(…, features={names!r})"
    lacking = [name for name in features if name not in dict(found)]
    none = f"; none of them has {', '.join(lacking)}" if lacking else ""
    return f"; they have imported features without base shards: {listed}{none}{advice}"


def feature_versions(con: duckdb.DuckDBPyConnection, clip_id: str, feature: str) -> list[str]:
    """Return the versions of a clip's feature, each with the recipe that it is computed from."""
    rows = con.execute(
        "SELECT DISTINCT feature || '-' || left(fingerprint, 8), split_part(shard, '/', 3) "
        "FROM feature_samples WHERE clip_id = ? AND feature = ? ORDER BY 1",
        [clip_id, feature],
    ).fetchall()
    return [f"{name} (of {stage})" for name, stage in rows]
