"""From SQL to the list of samples: what it names, joined to where the store holds it."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from manifests.store import StoreError
from train.data.samples import Layout, SampleList, Shard, fingerprint_of
from train.data.shared import SharedTable
from train.data.store import Store

_LOG = logging.getLogger("avstore")

_STAGES = """
SELECT h.dataset, h.recipe || '-' || left(h.fingerprint, 8) AS stage, h.fingerprint,
       count(DISTINCT s.clip_id) AS clips
FROM wanted w JOIN samples s USING (clip_id) JOIN shards h ON h.path = s.shard
WHERE $recipe IS NULL OR $recipe IN (h.recipe, h.recipe || '-' || left(h.fingerprint, 8))
GROUP BY ALL ORDER BY h.dataset, clips DESC, stage
"""
_CHOSEN = """
CREATE TEMP TABLE chosen AS
SELECT w.clip_id, w.weight, arg_max(s.rowid, s.shard) AS row, max(s.shard) AS path
FROM wanted w JOIN samples s USING (clip_id)
WHERE s.shard IN (SELECT h.path FROM shards h
                  JOIN stages_chosen g ON g.dataset = h.dataset AND g.fingerprint = h.fingerprint)
GROUP BY w.clip_id, w.weight
"""
_SHARDS = """
SELECT path, coalesce(sha256, '') AS sha256, coalesce(bytes, 0) AS bytes FROM shards
WHERE path IN (SELECT path FROM chosen) ORDER BY path
"""
_ROWS = """
SELECT k.clip_id, h.number AS shard, s.position, k.weight,
       coalesce(s.frame_count, 0) AS frame_count, coalesce(s.fbank_frames, 0) AS fbank_frames,
       c.label_ids {ranges} {segments} {features}
FROM chosen k
JOIN samples s ON s.rowid = k.row
JOIN clips c ON c.clip_id = k.clip_id
JOIN shard_numbers h ON h.path = k.path
{joins}
ORDER BY k.clip_id
"""
_RANGES = """, (list_position($layouts, s.members) - 1)::SMALLINT AS layout, s.offsets, s.sizes,
    s.frame_times, coalesce(s.crc32, -1) AS crc32"""
_SEGMENTS = """
LEFT JOIN (SELECT clip_id, list(label_id ORDER BY ALL) AS segment_labels,
                  list(onset_s::FLOAT ORDER BY label_id, onset_s, offset_s) AS segment_onsets,
                  list(offset_s::FLOAT ORDER BY label_id, onset_s, offset_s) AS segment_offsets
           FROM segments WHERE modality IN ($modality, 'both') GROUP BY clip_id) g
ON g.clip_id = k.clip_id"""


def sample_list(
    store: Store,
    sql: str,
    params: Sequence[Any] = (),
    *,
    recipe: str | None = None,
    features: Sequence[str] = (),
    segments: str | None = None,
    ranges: bool = True,
) -> SampleList:
    """The samples of the clips that `sql` returns, in order of clip_id.

    sql: returns column clip_id, and weight if samples are to be drawn by weight.
    recipe: whose samples, by name or <recipe>-<fp8>; without it, of each dataset the recipe that
    holds most of the clips. features: derived features to find too (name, or <name>-<fp8>).
    segments: 'audio', 'visual' or 'both': also find labels of parts of that modality.
    ranges: False leaves out byte ranges: a light list, to plan with.
    Raises StoreError for a query that fails, that no stored clip answers, or for a feature that
    some of the clips lack.
    """
    with store.connect() as con:
        try:
            con.register("named", con.sql(sql, params=list(params)).to_arrow_table())
            _want(con, sql)
            stages = _choose_stages(con, recipe)
            con.execute(_CHOSEN)
            shards = [Shard(*row) for row in con.execute(_SHARDS).fetchall()]
            if not shards:
                raise StoreError(_nothing(con, sql, recipe))
            return _collect(con, store, tuple(shards), stages, tuple(features), segments, ranges)
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error


def _want(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Table `wanted`: one row a clip that the query names; weights of one clip add up."""
    columns = con.sql("SELECT * FROM named").columns
    if "clip_id" not in columns:
        raise StoreError(
            f"the query returns {', '.join(columns)} and no column clip_id: {_short(sql)}"
        )
    weight = "sum(weight)::DOUBLE" if "weight" in columns else "NULL::DOUBLE"
    con.execute(
        f"CREATE TEMP TABLE wanted AS SELECT clip_id, {weight} AS weight FROM named "
        "GROUP BY clip_id"
    )
    if "weight" in columns:
        bad = con.execute(
            "SELECT clip_id, weight FROM wanted WHERE weight IS NULL OR NOT weight >= 0 "
            "OR isinf(weight) LIMIT 1"
        ).fetchone()
        if bad:
            raise StoreError(
                f"the query gives {bad[0]} the weight {bad[1]}; weights are at least 0"
            )


def _choose_stages(
    con: duckdb.DuckDBPyConnection, recipe: str | None
) -> tuple[tuple[str, str], ...]:
    """Table `stages_chosen`: of each dataset one recipe; what was chosen."""
    found = con.execute(_STAGES, {"recipe": recipe}).fetchall()
    chosen: dict[str, tuple[str, str]] = {}
    for dataset, stage, fingerprint, clips in found:
        if dataset in chosen:
            _LOG.warning(
                "%s is stored by several recipes: %s is used, not %s (%d of the clips); "
                "name one with recipe=",
                *(dataset, chosen[dataset][0], stage, clips),
            )
        chosen.setdefault(dataset, (stage, fingerprint))
    con.execute("CREATE TEMP TABLE stages_chosen (dataset VARCHAR, fingerprint VARCHAR)")
    for dataset, (_, fingerprint) in chosen.items():
        con.execute("INSERT INTO stages_chosen VALUES (?, ?)", [dataset, fingerprint])
    return tuple((dataset, stage) for dataset, (stage, _) in chosen.items())


def _collect(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    shards: tuple[Shard, ...],
    stages: tuple[tuple[str, str], ...],
    features: tuple[str, ...],
    segments: str | None,
    ranges: bool,
) -> SampleList:
    numbers = pa.table({"path": [shard.path for shard in shards], "number": range(len(shards))})
    con.register("shard_numbers", numbers.set_column(1, "number", numbers["number"].cast("int32")))
    layouts: list[str] = []
    if ranges:
        sql = "SELECT DISTINCT members FROM samples WHERE rowid IN (SELECT row FROM chosen)"
        layouts = sorted(row[0] for row in con.execute(sql).fetchall())
    companions, columns, joins = _features(con, features)
    values: dict[str, object] = {"layouts": layouts} if ranges else {}
    if segments:
        joins, values = _SEGMENTS + joins, values | {"modality": segments}
    labels = ", g.segment_labels, g.segment_onsets, g.segment_offsets" if segments else ""
    table = con.sql(
        _ROWS.format(
            ranges=_RANGES if ranges else "", segments=labels, features=columns, joins=joins
        ),
        params=values or None,
    ).to_arrow_table()
    _complete(table, features)
    fingerprint = fingerprint_of(table, shards)
    if companions:
        sums = "".join(shard.sha256 or shard.path for shard in companions)
        fingerprint = hashlib.sha256((fingerprint + sums).encode()).hexdigest()
    missing = con.execute(
        "SELECT clip_id FROM wanted WHERE clip_id NOT IN (SELECT clip_id FROM chosen) "
        "ORDER BY clip_id"
    ).fetchall()
    return SampleList(
        url=store.url,
        options=store.options,
        cache=store.cache,
        columns=SharedTable(table),
        shards=shards,
        layouts=tuple(Layout.of(members) for members in layouts),
        classes=_classes(con, [dataset for dataset, _ in stages]),
        fingerprint=fingerprint,
        missing=tuple(row[0] for row in missing),
        stages=stages,
        companions=companions,
    )


def _features(
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
            "WHERE clip_id IN (SELECT clip_id FROM chosen) "
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
            f" LEFT JOIN feature_{number} f{number} ON f{number}.clip_id = k.clip_id"
            f" LEFT JOIN companion_numbers n{number} ON n{number}.path = f{number}.shard"
        )
    table = pa.table({"path": list(companions), "number": pa.array(companions.values(), "int32")})
    con.register("companion_numbers", table)
    return tuple(Shard(path, "", 0) for path in companions), columns, joins


def _complete(table: pa.Table, features: tuple[str, ...]) -> None:
    """Raise StoreError where a clip lacks a feature that was asked for."""
    for feature in features:
        lacking = table.filter(table[f"{feature} shard"].is_null())["clip_id"]
        if len(lacking):
            raise StoreError(
                f"{len(lacking)} of {table.num_rows} clips have no {feature}, for one "
                f"{lacking[0]}; compute it (avstore features), or leave them out of the query"
            )


def _classes(con: duckdb.DuckDBPyConnection, datasets: list[str]) -> int:
    """Size of the label vocabulary: the largest label id and one."""
    row = con.execute(
        "SELECT coalesce(max(label_id) + 1, 0) FROM labels WHERE dataset IN (SELECT unnest($d))",
        {"d": datasets},
    ).fetchone()
    return int(row[0]) if row else 0


def _nothing(con: duckdb.DuckDBPyConnection, sql: str, recipe: str | None) -> str:
    (named,) = con.execute("SELECT count(*) FROM wanted").fetchall()[0]
    by = f" by recipe {recipe}" if recipe else ""
    return f"no stored clip answers the query ({named} named, none stored{by}): {_short(sql)}"


def _short(sql: str) -> str:
    return " ".join(sql.split())[:200]
