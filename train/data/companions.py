"""Derived features of the clips that a query names: their companion shards, and where in them."""

import duckdb
import pyarrow as pa

from avstore.manifests.shard_reader import Shard
from avstore.manifests.store import StoreError


def find_features(
    con: duckdb.DuckDBPyConnection, features: tuple[str, ...]
) -> tuple[tuple[Shard, ...], str, str]:
    """Companion shards, and what the query for the rows takes in of them."""
    columns, joins = "", ""
    companions: dict[str, int] = {}
    for number, feature in enumerate(features):
        con.execute(
            f"CREATE TEMP TABLE feature_{number} AS SELECT clip_id, max(fingerprint) AS one, "
            "count(DISTINCT fingerprint) AS many, arg_max(shard, fingerprint) AS shard, "
            'arg_max("offset", fingerprint) AS start, arg_max(size, fingerprint) AS size, '
            "arg_max(crc32, fingerprint) AS crc32 FROM feature_samples "
            "WHERE clip_id IN (SELECT clip_id FROM wanted) "
            "AND $feature IN (feature, feature || '-' || left(fingerprint, 8)) GROUP BY clip_id",
            {"feature": feature},
        )
        twice = con.execute(f"SELECT clip_id FROM feature_{number} WHERE many > 1").fetchone()
        if twice:
            raise StoreError(
                f"{feature} of {twice[0]} is there more than once; "
                f"name one as {feature}-<first 8 of its fingerprint>"
            )
        found = con.execute(f"SELECT DISTINCT shard FROM feature_{number} ORDER BY 1").fetchall()
        for (path,) in found:
            companions.setdefault(path, len(companions))
        for column in ("start", "size", "crc32"):
            columns += f', f{number}.{column} AS "{feature} {column}"'
        columns += f', n{number}.number AS "{feature} shard"'
        joins += (
            f" LEFT JOIN feature_{number} f{number} ON f{number}.clip_id = w.clip_id"
            f" LEFT JOIN companion_numbers n{number} ON n{number}.path = f{number}.shard"
        )
    table = pa.table({"path": list(companions), "number": pa.array(companions.values(), "int32")})
    con.register("companion_numbers", table)
    return tuple(Shard(path, "", 0) for path in companions), columns, joins


def check_complete(table: pa.Table, features: tuple[str, ...]) -> None:
    """Raise StoreError where a clip lacks a feature that was asked for."""
    for feature in features:
        lacking = table.filter(table[f"{feature} shard"].is_null())["clip_id"]
        if len(lacking):
            raise StoreError(
                f"{len(lacking)} of {table.num_rows} clips have no {feature}, for one "
                f"{lacking[0]}; compute it (avstore features), or leave them out of the query"
            )
