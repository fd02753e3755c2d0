"""From SQL to the list of samples: what it names, joined to where the store holds it."""

import hashlib
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avstore.manifests.library import OpenStore
from avstore.manifests.shard_reader import Shard
from avstore.manifests.store import StoreError
from avstore.train.data.companions import check_complete, find_features
from avstore.train.data.samples import Layout, SampleList, fingerprint_of
from avstore.train.data.shared import SharedTable
from avstore.train.data.stages import choose_stages

# Rows that DuckDB puts into one piece: all of them.
_ONE_BATCH = 1 << 30

_SHARDS = """
CREATE TEMP TABLE stage_shards AS
SELECT path, coalesce(sha256, '') AS sha256, coalesce(bytes, 0) AS bytes, dataset,
       (row_number() OVER (ORDER BY path) - 1)::INTEGER AS number
FROM shards WHERE (dataset, fingerprint) IN (SELECT dataset, fingerprint FROM stages_chosen)
"""
_ROWS = """
SELECT w.clip_id, h.number AS shard, s.position, w.weight,
       coalesce(s.frame_count, 0) AS frame_count, coalesce(s.fbank_frames, 0) AS fbank_frames,
       c.label_ids {columns}
FROM wanted w
JOIN samples s USING (clip_id)
JOIN clips c USING (clip_id)
JOIN stage_shards h ON h.path = s.shard
{joins}
ORDER BY {order}
"""
_RANGES = """, (list_position($layouts, s.members) - 1)::SMALLINT AS layout, s.offsets, s.sizes,
    s.frame_times, coalesce(s.crc32, -1) AS crc32"""
_SEGMENTS = """
LEFT JOIN (SELECT clip_id, list(label_id ORDER BY ALL) AS segment_labels,
                  list(onset_s::FLOAT ORDER BY label_id, onset_s, offset_s) AS segment_onsets,
                  list(offset_s::FLOAT ORDER BY label_id, onset_s, offset_s) AS segment_offsets
           FROM segments WHERE modality IN ($modality, 'both') GROUP BY clip_id) g
ON g.clip_id = w.clip_id"""


def sample_list(
    store: OpenStore,
    sql: str,
    params: Sequence[Any] = (),
    *,
    recipe: str | None = None,
    features: Sequence[str] = (),
    segments: str | None = None,
    ranges: bool = True,
    masks: Sequence[str] = (),
) -> SampleList:
    """The samples of the clips that `sql` returns, in order of clip_id.

    sql: returns column clip_id, and weight if samples are to be drawn by weight.
    recipe: whose samples, by name or <recipe>-<fp8>; without it, of each dataset the recipe that
    holds most of the clips. features: derived features to find too (name, or <name>-<fp8>).
    segments: 'audio', 'visual' or 'both': also find labels of parts of that modality.
    ranges: False leaves out byte ranges: a light list, to plan with. masks: columns of bits that
    the query returns, which are or-ed by the clip and kept as columns of the list.
    Raises StoreError for a query that fails, that no stored clip answers, or for a feature that
    some of the clips lack.
    """
    if segments not in (None, "audio", "visual", "both"):
        raise ValueError(f"segments are 'audio', 'visual' or 'both', not {segments!r}")
    if not isinstance(store, OpenStore):
        raise TypeError(f"sample_list takes a store (open_store(…)), not {store!r}")
    if isinstance(features, str):
        raise ValueError(f"features is a list of names, such as [{features!r}], not {features!r}")
    features = tuple(dict.fromkeys(features))
    with store.connect() as con:
        try:
            _want(con, sql, params, masks)
            stages = choose_stages(con, recipe)
            con.execute(_SHARDS)
            companions, columns, joins = find_features(con, features)
            columns = "".join(f", w.{mask}" for mask in masks) + columns
            layouts = _layouts(con) if ranges else []
            table = _rows(con, layouts, segments, columns, joins)
            if not table.num_rows:
                raise StoreError(_nothing(con, sql, recipe))
            if segments:
                _check_segments(table, segments)
            check_complete(table, features)
            table, shards, datasets = _used_shards(con, table)
            return SampleList(
                url=store.url,
                options=store.options,
                cache=store.cache,
                columns=SharedTable(table),
                shards=shards,
                layouts=tuple(Layout.of(members) for members in layouts),
                classes=_classes(con, datasets),
                fingerprint=_fingerprint(table, shards, companions),
                missing=_missing(con, table),
                stages=tuple((name, stage) for name, stage in stages if name in datasets),
                companions=companions,
            )
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error


def _want(
    con: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any], masks: Sequence[str]
) -> None:
    """Table `wanted`: one row a clip that the query names; weights of one clip add up."""
    named = con.sql(sql, params=list(params))
    if named is None:
        raise StoreError(f"this returns no rows; write a SELECT: {_short(sql)}")
    if "clip_id" not in named.columns:
        raise StoreError(
            f"the query returns {', '.join(named.columns)} and no column clip_id: {_short(sql)}"
        )
    weighted = "weight" in named.columns
    columns = ["sum(weight)::DOUBLE AS weight" if weighted else "NULL::DOUBLE AS weight"]
    columns += [f"bit_or({mask}) AS {mask}" for mask in masks]
    con.execute(
        f"CREATE TEMP TABLE wanted AS SELECT clip_id::VARCHAR AS clip_id, {', '.join(columns)} "
        "FROM named WHERE clip_id IS NOT NULL GROUP BY ALL"
    )
    if weighted:
        bad = con.execute(
            "SELECT clip_id, weight FROM wanted WHERE weight IS NULL OR weight < 0 "
            "OR NOT isfinite(weight) LIMIT 1"
        ).fetchone()
        if bad:
            raise StoreError(
                f"the query gives {bad[0]} the weight {bad[1]}; weights are at least 0"
            )


def _check_segments(table: pa.Table, segments: str) -> None:
    """Single clips may have no labels of parts; none of all is a question to the wrong dataset."""
    if table["segment_labels"].null_count == table.num_rows:
        raise StoreError(
            f"no clip of the list has {segments} labels of parts: their dataset labels whole "
            "clips, or segments= names the other modality"
        )


def _layouts(con: duckdb.DuckDBPyConnection) -> list[str]:
    """How the members of the samples are laid out, each way once."""
    sql = (
        "SELECT DISTINCT members FROM samples WHERE clip_id IN (SELECT clip_id FROM wanted) "
        "AND shard IN (SELECT path FROM stage_shards) ORDER BY members"
    )
    return [row[0] for row in con.execute(sql).fetchall()]


def _rows(
    con: duckdb.DuckDBPyConnection,
    layouts: list[str],
    segments: str | None,
    columns: str,
    joins: str,
) -> pa.Table:
    """One row a sample, in order of clip_id: layouts (none: without byte ranges)."""
    values: dict[str, object] = {}
    if segments:
        joins, values = _SEGMENTS + joins, {"modality": segments}
        columns = ", g.segment_labels, g.segment_onsets, g.segment_offsets" + columns
    if layouts:
        values["layouts"], columns = layouts, _RANGES + columns
    sql = _ROWS.format(columns=columns, joins=joins, order=_order(con))
    table = con.sql(sql, params=values or None).to_arrow_table(batch_size=_ONE_BATCH)
    return _last_of_each(table)


def _order(con: duckdb.DuckDBPyConnection) -> str:
    """Terms that sort by clip_id and then shard; by key where that is the same, and faster."""
    datasets = con.execute("SELECT DISTINCT dataset FROM stage_shards").fetchall()
    return "c.key, h.number" if len(datasets) == 1 else "w.clip_id, h.number"


def _last_of_each(table: pa.Table) -> pa.Table:
    """Of a clip that lies in several shards of its stage, the last one."""
    ids = table["clip_id"].combine_chunks()
    again = pc.equal(ids.slice(0, max(len(ids) - 1, 0)), ids.slice(1))
    if not pc.any(again).as_py():
        return table
    last = np.append(~again.to_numpy(zero_copy_only=False), True)
    return table.filter(pa.array(last))


def _used_shards(
    con: duckdb.DuckDBPyConnection, table: pa.Table
) -> tuple[pa.Table, tuple[Shard, ...], list[str]]:
    """The rows with shards numbered through, these shards, and their datasets."""
    numbers = table["shard"].to_numpy()
    used = np.flatnonzero(np.bincount(numbers))
    con.register("used", pa.table({"number": used}))
    rows = con.execute(
        "SELECT path, sha256, bytes, dataset FROM stage_shards WHERE number IN "
        "(SELECT number FROM used) ORDER BY number"
    ).fetchall()
    again = np.zeros(used[-1] + 1, np.int32)
    again[used] = np.arange(len(used), dtype=np.int32)
    place = table.schema.get_field_index("shard")
    table = table.set_column(place, "shard", pa.array(again[numbers]))
    return table, tuple(Shard(*row[:3]) for row in rows), sorted({row[3] for row in rows})


def _fingerprint(table: pa.Table, shards: tuple[Shard, ...], companions: tuple[Shard, ...]) -> str:
    """Of samples and shards, and of the companions where there are any."""
    found = fingerprint_of(table, shards)
    if not companions:
        return found
    sums = "".join(shard.sha256 or shard.path for shard in companions)
    return hashlib.sha256((found + sums).encode()).hexdigest()


def _missing(con: duckdb.DuckDBPyConnection, table: pa.Table) -> tuple[str, ...]:
    """Clips that the query names and the store does not hold."""
    if con.execute("SELECT count(*) FROM wanted").fetchall() == [(table.num_rows,)]:
        return ()
    con.register("found", table.select(["clip_id"]))
    rows = con.execute(
        "SELECT clip_id FROM wanted WHERE clip_id NOT IN (SELECT clip_id FROM found) "
        "ORDER BY clip_id"
    ).fetchall()
    return tuple(row[0] for row in rows)


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
