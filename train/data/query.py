"""Select samples by SQL: join the clips that a query names to where the store holds them."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avstore.manifests.errors import query_error
from avstore.manifests.library import OpenStore
from avstore.manifests.schema import sql_name
from avstore.manifests.shard_reader import Shard
from avstore.manifests.store import StoreError
from avstore.train.data.arrow_arrays import array_of, numbers_of, strings_of
from avstore.train.data.feature_only import (
    contents_digest,
    describe_features,
    feature_versions,
    find_feature_rows,
)
from avstore.train.data.member_packing import find_members
from avstore.train.data.query_columns import selected_columns
from avstore.train.data.query_rows import select_clips, short
from avstore.train.data.row_table import last_of_each_clip, used_layouts, used_shards
from avstore.train.data.samples import MemberLayout, SampleList, fingerprint_of
from avstore.train.data.shared_table import SharedTable
from avstore.train.data.stages import choose_stages, warn_of_others
from avstore.train.data.video_columns import find_videos

# Rows that DuckDB returns in one chunk: all of them.
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
       {labels}.label_ids {columns}
FROM wanted w
JOIN (SELECT * {layout} FROM {samples}) s USING (clip_id)
JOIN clips c USING (clip_id)
JOIN stage_shards h ON h.path = s.shard
{joins}
ORDER BY {order}
"""
# Below the joins, where DuckDB computes it once for each distinct value of members.
_LAYOUT = ", (list_position($layouts, members) - 1)::SMALLINT AS layout"
_RANGES = ", s.layout, coalesce(s.crc32, -1) AS crc32, s.place"
_SEGMENTS_OF = {"audio": "audio", "visual": "visual", "both": "audio-visual", "apart": "labelled"}
_SEGMENT_ORDER = "ORDER BY label_id, onset_s, offset_s, visual"
_SEGMENTS = f"""
LEFT JOIN (SELECT clip_id, list(label_id {_SEGMENT_ORDER}) AS segment_labels,
                  list(onset_s::FLOAT {_SEGMENT_ORDER}) AS segment_onsets,
                  list(offset_s::FLOAT {_SEGMENT_ORDER}) AS segment_offsets,
                  list(visual {_SEGMENT_ORDER}) AS segment_visual
           FROM (SELECT *, unnest(CASE WHEN $modality <> 'apart' OR modality = 'audio' THEN [0]
                                       WHEN modality = 'visual' THEN [1]
                                       ELSE [0, 1] END) AS visual
                 FROM segments WHERE $modality = 'apart' OR modality IN ($modality, 'both'))
           GROUP BY clip_id) g
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
    columns: Sequence[str] = (),
    lacking: Literal["refuse", "leave_out"] = "refuse",
) -> SampleList:
    """Return the samples of the clips that a query selects, in order of clip_id.

    Args:
        store: The store.
        sql: Query over the manifest that returns a column clip_id, a column weight for weighted
            draws, and a column label_ids for other labels than the dataset's (`label_sets`).
        params: Values of the query's `?`.
        recipe: Recipe of the samples: its name, or <recipe>-<fp8>. By default that of the folder
            that was opened, else each dataset's recipe that holds the most of the clips.
        features: Derived features to find: <name>, or <name>-<fp8>. Clips without a base shard that
            have all of them are in the list too.
        segments: 'audio', 'visual' or 'both': also find the labelled segments of that modality;
            'apart': those of audio and those of visual, for labels='segments_by_modality'.
        ranges: Whether to find byte ranges; a list without them is light, and enough to plan with.
        masks: Columns of bits that the query returns; they are or-ed over each clip's rows and kept
            as columns of the list.
        columns: Columns that the query returns, such as captions, for `Batch.extras`: one value for
            each clip.
        lacking: 'refuse' a list of which some clips lack a feature, or 'leave_out' those clips;
            they are then among `SampleList.missing`.

    Raises:
        StoreError: If the query fails, none of its clips is stored with all features, or some lack
            one and are refused.
        TypeError: If `store` is not a store.
        ValueError: If another argument is invalid.

    Example:
        >>> store = open_store("data")
        >>> samples = sample_list(store, "SELECT clip_id FROM clips WHERE split = ?", ["test"])
        >>> len(samples), samples.missing
        (5, ('toy/k161_000023',))
        >>> samples = sample_list(store, "SELECT clip_id FROM clips", features=["toy-feature"])
        >>> batch = next(iter(Loader(samples, BatchSpec(4, read=("toy-feature",)))))
        >>> tuple(batch.features["toy-feature"].shape)
        (4, 3, 4)
    """
    _check_arguments(store, features, segments, lacking, columns)
    features, kept = tuple(dict.fromkeys(features)), tuple(dict.fromkeys(columns))
    with store.connect() as con:
        try:
            labels = "w" if select_clips(con, sql, params, masks, kept) else "c"
            stages, others = choose_stages(con, recipe or store.stage)
            if not features:
                warn_of_others(others)
            con.execute(_SHARDS)
            companions, more, joins = _find_features(con, features)
            stored = find_feature_rows(con, features)
            more += selected_columns(kept)
            more += "".join(f", w.{sql_name(mask)}" for mask in masks)
            layouts = _layouts(con, stored) if ranges else []
            table = _rows(con, stored, layouts, segments, more, joins, labels)
            if not table.num_rows:
                alone = describe_features(con, features)
                raise StoreError(_describe_empty(con, sql, recipe or store.stage) + alone)
            if segments:
                _check_segments(table, segments)
            table = _with_features(table, features, lacking)
            table, layouts = used_layouts(table, layouts)
            videos = find_videos(con, table, layouts)
            table, shards, datasets = used_shards(con, table)
            members = None
            if ranges:
                members = find_members(con, numbers_of(table["place"]))
                table = table.drop_columns(["place"])
            return SampleList(
                url=store.url,
                options=store.options,
                cache=store.cache,
                columns=SharedTable(table),
                shards=shards,
                layouts=tuple(MemberLayout.parse(members) for members in layouts),
                classes=_classes(con, datasets),
                fingerprint=_fingerprint(table, shards, companions, features),
                missing=_missing(con, table),
                stages=tuple((name, stage) for name, stage in stages if name in datasets),
                companions=companions,
                others=others,
                extras=kept,
                videos=videos,
                members=members,
            )
        except duckdb.Error as error:
            raise query_error(error) from error


def _check_arguments(
    store: object, features: object, segments: str | None, lacking: str, columns: object
) -> None:
    if lacking not in ("refuse", "leave_out"):
        raise ValueError(f"lacking={lacking!r} is not one of 'refuse', 'leave_out'")
    if segments not in (None, "audio", "visual", "both", "apart"):
        raise ValueError(f"segments={segments!r} is not one of 'audio', 'visual', 'both', 'apart'")
    if not isinstance(store, OpenStore):
        raise TypeError(f"sample_list takes a store, such as open_store('data'), not {store!r}")
    for name, value in (("features", features), ("columns", columns)):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} is a list of names, such as [{value!r}], not {value!r}")


def _find_features(
    con: duckdb.DuckDBPyConnection, features: tuple[str, ...]
) -> tuple[tuple[Shard, ...], str, str]:
    """Return the companion shards, and the columns and joins that the query of rows adds."""
    columns, joins = "", ""
    companions: dict[str, int] = {}
    for number, feature in enumerate(features):
        con.execute(
            f"CREATE TEMP TABLE feature_{number} AS SELECT clip_id, "
            "count(DISTINCT fingerprint) AS versions, arg_max(shard, fingerprint) AS shard, "
            'arg_max("offset", fingerprint) AS start, arg_max(size, fingerprint) AS size, '
            "arg_max(crc32, fingerprint) AS crc32, arg_max(position, fingerprint) AS position "
            "FROM feature_samples "
            "WHERE clip_id IN (SELECT clip_id FROM wanted) "
            "AND $feature IN (feature, feature || '-' || left(fingerprint, 8)) GROUP BY clip_id",
            {"feature": feature},
        )
        twice = con.execute(f"SELECT clip_id FROM feature_{number} WHERE versions > 1").fetchone()
        if twice:
            raise StoreError(
                f"the store holds several versions of {feature} of {twice[0]}; choose one by its "
                f"whole name: {', '.join(feature_versions(con, twice[0], feature))}"
            )
        found = con.execute(f"SELECT DISTINCT shard FROM feature_{number} ORDER BY 1").fetchall()
        for (path,) in found:
            companions.setdefault(path, len(companions))
        for column in ("start", "size", "crc32"):
            columns += f", f{number}.{column} AS {sql_name(f'{feature} {column}')}"
        columns += f", n{number}.number AS {sql_name(f'{feature} shard')}"
        joins += (
            f" LEFT JOIN feature_{number} f{number} ON f{number}.clip_id = w.clip_id"
            f" LEFT JOIN companion_numbers n{number} ON n{number}.path = f{number}.shard"
        )
    numbers = array_of(np.arange(len(companions), dtype=np.int32))
    table = pa.table({"path": strings_of(list(companions)), "number": numbers})
    con.register("companion_numbers", table)
    return tuple(Shard(path, "", 0) for path in companions), columns, joins


def _with_features(table: pa.Table, features: tuple[str, ...], lacking: str) -> pa.Table:
    """Return the rows that have all features.

    Raises:
        StoreError: If there are none, or if some lack a feature and are refused.
    """
    kept = table
    for feature in features:
        known = pc.is_valid(kept[f"{feature} shard"])
        less = kept.filter(known)
        if len(less) < len(kept) and (lacking == "refuse" or not len(less)):
            first = kept.filter(pc.invert(known))["clip_id"][0]
            raise StoreError(
                f"{len(kept) - len(less)} of {len(kept)} clips have no {feature}, such as "
                f"{first}; compute it (avstore features), or leave them out of the query"
            )
        kept = less
    return kept


def _check_segments(table: pa.Table, segments: str) -> None:
    """Raise StoreError if no clip has segments: then the query names the wrong dataset."""
    if table["segment_labels"].null_count == table.num_rows:
        raise StoreError(
            f"no clip of the list has {_SEGMENTS_OF[segments]} segments ({segments=}): the dataset "
            f"of {table['clip_id'][0].as_py()} labels whole clips, or segments of other modalities"
        )


def _layouts(con: duckdb.DuckDBPyConnection, stored: str) -> list[str]:
    """Return the distinct values of the column `members` of the stages' samples."""
    sql = (
        f"SELECT DISTINCT members FROM {stored} WHERE shard IN (SELECT path FROM stage_shards) "
        "ORDER BY members"
    )
    return [row[0] for row in con.execute(sql).fetchall()]


def _rows(
    con: duckdb.DuckDBPyConnection,
    stored: str,
    layouts: list[str],
    segments: str | None,
    columns: str,
    joins: str,
    labels: str,
) -> pa.Table:
    """Return one row per sample, in order of clip_id; without layouts, without byte ranges.

    `stored` is the table of samples. `labels` is the table whose label_ids are taken: `c` for the
    clips', `w` for the query's.
    """
    values: dict[str, object] = {}
    if segments:
        joins, values = _SEGMENTS + joins, {"modality": segments}
        columns = ", g.segment_labels, g.segment_onsets, g.segment_offsets" + columns
        if segments == "apart":
            columns = ", g.segment_visual" + columns
    if layouts:
        values["layouts"], columns = layouts, _RANGES + columns
    sql = _ROWS.format(
        samples=stored,
        layout=_LAYOUT if layouts else "",
        columns=columns,
        joins=joins,
        order=_order(con),
        labels=labels,
    )
    table = con.sql(sql, params=values or None).to_arrow_table(batch_size=_ONE_BATCH)
    return last_of_each_clip(table)


def _order(con: duckdb.DuckDBPyConnection) -> str:
    """Return ORDER BY terms for clip_id, shard; key sorts the same in one dataset, and faster."""
    datasets = con.execute("SELECT DISTINCT dataset FROM stage_shards").fetchall()
    return "c.key, h.number" if len(datasets) == 1 else "w.clip_id, h.number"


def _fingerprint(
    table: pa.Table,
    shards: tuple[Shard, ...],
    companions: tuple[Shard, ...],
    features: tuple[str, ...],
) -> str:
    """Return the fingerprint of samples and shards, and of companions if there are any."""
    base = fingerprint_of(table, shards)
    if not companions:
        return base
    sums = "".join(shard.sha256 or shard.path for shard in companions)
    sums += contents_digest(table, features, [shard.path for shard in companions])
    return hashlib.sha256((base + sums).encode()).hexdigest()


def _missing(con: duckdb.DuckDBPyConnection, table: pa.Table) -> tuple[str, ...]:
    """Return the selected clips that the store does not hold."""
    if con.execute("SELECT count(*) FROM wanted").fetchall() == [(table.num_rows,)]:
        return ()
    con.register("found", table.select(["clip_id"]))
    rows = con.execute(
        "SELECT clip_id FROM wanted WHERE clip_id NOT IN (SELECT clip_id FROM found) "
        "ORDER BY clip_id"
    ).fetchall()
    return tuple(row[0] for row in rows)


def _classes(con: duckdb.DuckDBPyConnection, datasets: list[str]) -> int:
    """Return the size of the label vocabulary: the largest label id plus one."""
    row = con.execute(
        "SELECT coalesce(max(label_id) + 1, 0) FROM labels WHERE dataset IN (SELECT unnest($d))",
        {"d": datasets},
    ).fetchone()
    return int(row[0]) if row else 0


def _describe_empty(con: duckdb.DuckDBPyConnection, sql: str, recipe: str | None) -> str:
    (count,) = con.execute("SELECT count(*) FROM wanted").fetchall()[0]
    by = f" by recipe {recipe}" if recipe else ""
    return f"none of the {count} clips that the query selects is stored{by}: {short(sql)}"
