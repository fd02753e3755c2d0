"""Check that sidecars name only the shards beside them, clips of their dataset and real groups."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.names import is_name
from avstore.manifests.sidecar import LATER_COLUMNS, NO_LATER_ROWS, SCHEMA
from avstore.manifests.store import StoreError, shard_of

_BESIDE = r"shard <> regexp_extract(filename, '(shards/[^/]+/[^/]+/[^/]+)\.parquet$', 1) || '.tar'"
_BAD_BASE = f"""
{_BESIDE} OR NOT starts_with(shard, concat('shards/', dataset, '/', recipe, '-',
    left(fingerprint, 8), '/', split, '-'))
OR NOT starts_with(clip_id, dataset || '/') OR contains(coalesce(members, ''), '/')
OR NOT regexp_full_match(clip_id[len(dataset) + 2:], '[A-Za-z0-9_-]+')
"""
_BAD_FEATURE = f"""
{_BESIDE} OR NOT ends_with(shard, concat('.', feature, '-', left(fingerprint, 8), '.tar'))
OR NOT regexp_full_match(clip_id, '[A-Za-z0-9_-]+/[A-Za-z0-9_-]+')
"""
# Conversions that fail give NULL, and what is NULL is refused too.
_GOPS = "try_cast(gop_offsets AS BIGINT[])"
_VIDEO_SIZE = (
    "try_cast(sizes AS BIGINT[])[list_position(string_split(CAST(members AS VARCHAR), ' '), 'mp4')]"
)
_BAD_GOPS = f"""
CAST(gop_offsets AS VARCHAR) IS NOT NULL AND (
    list_sort(list_distinct({_GOPS})) = {_GOPS} AND {_GOPS}[1] >= 0 AND {_GOPS}[-1] <= {_VIDEO_SIZE}
    AND len({_GOPS}) = 1 + ceil(try_cast(video_frames AS DOUBLE) / try_cast(gop_frames AS DOUBLE))
    AND len(try_cast(gop_crc32 AS BIGINT[])) = len({_GOPS}) - 1
    AND try_cast(video_frames AS DOUBLE) > 0 AND try_cast(video_rate AS DOUBLE) > 0
    AND isfinite(try_cast(video_rate AS DOUBLE)) AND CAST(video_codec AS VARCHAR) IN ('av1', 'h264')
) IS NOT TRUE
"""
_OWN = "has names that are not its own"
# Condition of a wrong row, whether it is one of companions, what is wrong.
_CHECKS = (
    (_BAD_BASE, False, _OWN),
    (_BAD_GOPS, False, "has groups of pictures that its video cannot have"),
    (_BAD_FEATURE, True, _OWN),
)
_FEATURE_TYPES = {
    **dict.fromkeys(("shard", "feature", "fingerprint", "clip_id"), "string"),
    **dict.fromkeys(("position", "offset", "size", "crc32"), "int"),
}


def _is_companion(path: Path) -> bool:
    return "." in path.stem


def wrong_columns(path: Path, file: pq.ParquetFile) -> str | None:
    """Return why a sidecar's columns cannot be read as those of its kind, or None."""
    found = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    if _is_companion(path):
        wrong = [n for n, kind in _FEATURE_TYPES.items() if not str(found.get(n)).startswith(kind)]
    else:
        expected = [n for n in SCHEMA.names if n in found or n not in LATER_COLUMNS]
        wrong = [n for n in expected if not _fits(found.get(n), SCHEMA.field(n).type)]
    if not wrong:
        return None
    return f"has no usable column {wrong[0]!r} ({found.get(wrong[0], 'missing')})"


def _fits(found: pa.DataType | None, expected: pa.DataType) -> bool:
    # Older versions wrote other widths, and a column of nulls has no type.
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_list)
    same = any(kind(found) and kind(expected) for kind in kinds) if found else False
    return same or found in (expected, pa.null())


def misnamed(con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path]) -> dict[Path, str]:
    """Return the sidecars that name other files, impossible clips or groups, with the reason.

    Args:
        con: A connection that may read files.
        sidecars: Readable sidecars of base and companion shards.
    """
    wrong = {path: _named(path) for path in sidecars if not _has_name(path)}
    for bad, companions, text in _CHECKS:
        paths = [str(p) for p in sidecars if p not in wrong and _is_companion(p) is companions]
        wrong |= _find(con, paths, bad, text)
    return wrong


def _find(con: duckdb.DuckDBPyConnection, paths: list[str], bad: str, text: str) -> dict[Path, str]:
    """Return the sidecars with a row of which the condition `bad` is not false, with the reason."""
    wrong: dict[Path, str] = {}
    if not paths:
        return wrong
    try:
        rows = con.execute(
            "SELECT filename, any_value(shard), any_value(clip_id) FROM (SELECT * FROM "
            "read_parquet(?, filename = true, union_by_name = true) "
            f"UNION ALL BY NAME {NO_LATER_ROWS}) WHERE ({bad}) IS NOT FALSE GROUP BY filename",
            [paths],
        ).fetchall()
    except duckdb.Error as error:
        if len(paths) == 1:
            return {Path(paths[0]): f"cannot be read: {str(error).splitlines()[0]}"}
        for path in paths:  # find those that cannot be read
            wrong |= _find(con, [path], bad, text)
        return wrong
    for name, shard, clip_id in rows:
        beside = shard_of(Path(name)).endswith(f"/{shard}")
        other = f"names the shard {shard!r} instead of the one beside it"
        wrong[Path(name)] = f"{text} ({clip_id!r})" if beside else other
    return wrong


def _has_name(path: Path) -> bool:
    return is_name("shard", shard_of(Path(*path.parts[-4:])))


def _named(path: Path) -> str:
    return f"is not named as a sidecar of a store: {path.name}"


def refuse_misnamed(con: duckdb.DuckDBPyConnection, sidecars: Sequence[Path]) -> None:
    """Raise StoreError if a sidecar names other files or impossible clips."""
    for path, why in sorted(misnamed(con, sidecars).items())[:1]:
        raise StoreError(f"{path} {why}; run avstore verify --repair")
