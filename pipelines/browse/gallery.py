"""The clips of a selection, a page at a time, and the counts of facets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests.errors import query_error
from avstore.manifests.schema import sql_name
from avstore.manifests.store import StoreError
from avstore.manifests.streams import sql_literal
from avstore.manifests.tasks import StreamError, select_columns
from avstore.pipelines.browse.facts import MEASURES, Row
from avstore.pipelines.browse.layouts import Layout, layouts_at
from avstore.pipelines.browse.selection import PAGE_CLIPS, Selection
from avstore.pipelines.browse.session import Snapshot

BINS = 24
_MOST_VALUES = 400  # values of a facet that are listed
_MOST_ROWS = 200  # rows of a query that selects no clips
_MOST_TEXT = 2000  # characters of a value in them


@dataclass(frozen=True)
class GalleryPage:
    """Clips of a selection.

    Attributes:
        total: Clips of the selection, once per recipe.
        seconds: Their stored seconds.
        items: The page's clips.
    """

    total: int
    seconds: float
    items: list[Row]


def gallery(snapshot: Snapshot, selection: Selection) -> GalleryPage:
    """Return one page of a selection, stored clips first."""
    facts, where = snapshot.facts, where_of(snapshot, selection)
    (total,) = facts.rows(
        f"SELECT count(*) AS n, coalesce(sum(duration_s), 0) AS s FROM facts WHERE {where}"
    )
    # Sorting numbers of rows alone: rows of millions of clips would need the memory of all facets.
    order = facts.rows(
        f"SELECT rowid AS fact FROM facts WHERE {where} "
        f"ORDER BY {_order(selection.sort)} LIMIT {int(PAGE_CLIPS)} "
        f"OFFSET {int((selection.page - 1) * PAGE_CLIPS)}"
    )
    numbers = [row["fact"] for row in order]
    found = facts.rows(_OF_PAGE, [numbers])
    by_number = {row.pop("fact"): row for row in found}
    chosen = [by_number[number] for number in numbers]
    return GalleryPage(total["n"], total["s"], _described(snapshot, chosen))


def of_clips(snapshot: Snapshot, clip_ids: Sequence[str]) -> dict[str, Row]:
    """Return what a gallery shows of some clips, by id; of several recipes, one that has them."""
    rows = snapshot.facts.rows(_OF_CLIPS, [list(clip_ids)])
    return {row["clip_id"]: row for row in _described(snapshot, rows)}


_OF_CLIPS = """
SELECT clip, sample, stage::VARCHAR AS stage, status::VARCHAR AS status,
       verdict::VARCHAR AS verdict, duration_s
FROM facts
WHERE clip IN (SELECT rowid FROM clips WHERE clip_id IN (SELECT unnest(?::VARCHAR[])))
QUALIFY row_number() OVER (PARTITION BY clip ORDER BY sample IS NULL, stage) = 1
"""
_OF_PAGE = """
SELECT rowid AS fact, clip, sample, stage::VARCHAR AS stage, status::VARCHAR AS status,
       verdict::VARCHAR AS verdict, duration_s
FROM facts WHERE rowid IN (SELECT unnest(?::BIGINT[]))
"""


def where_of(snapshot: Snapshot, selection: Selection) -> str:
    """Return the condition on the facts that selects the clips.

    Raises:
        StoreError: The selection's query fails or returns no clip ids.
    """
    if selection.sql and "clip_id" not in columns_of(snapshot, selection.sql):
        raise StoreError("the query returns no column clip_id")
    conditions = list(selection.of_facts)
    if selection.of_clips:
        table = snapshot.facts.chosen(" AND ".join(selection.of_clips))
        conditions.append(f"clip IN (SELECT clip FROM {sql_name(table)})")
    return " AND ".join(conditions) or "true"


def columns_of(snapshot: Snapshot, sql: str) -> list[str]:
    """Return the columns of a query; raise StoreError if it fails or is not one SELECT."""
    try:
        with snapshot.store.connect() as con:
            return select_columns(con, sql)
    except duckdb.Error as error:
        raise query_error(error) from error
    except StreamError as error:
        raise StoreError(f"the query has {error}") from error


def table_of(snapshot: Snapshot, sql: str) -> tuple[list[str], list[list[Any]], bool]:
    """Return columns and first rows of a query, and whether there are more; values are texts."""
    columns = columns_of(snapshot, sql)
    numbered = [f"v{number}" for number in range(len(columns))]
    values = ", ".join(
        f"CASE WHEN length({v}::VARCHAR) > {int(_MOST_TEXT)} "
        f"THEN left({v}::VARCHAR, {int(_MOST_TEXT)}) || '…' ELSE {v}::VARCHAR END AS {v}"
        for v in numbered
    )  # cut by the database: a value can be larger than the memory, or have no equal in Python
    found = snapshot.facts.rows(
        f"SELECT {values} FROM ({sql}\n) t({', '.join(numbered)}) LIMIT {int(_MOST_ROWS + 1)}"
    )
    rows = [list(row.values()) for row in found]
    return columns, rows[:_MOST_ROWS], len(rows) > _MOST_ROWS


def _order(sort: str) -> str:
    """Return the order of a page; the clip's number makes it complete."""
    stored = "status <> 'stored'"
    name = sort.removeprefix("-")
    if name == "random":
        return f"{stored}, hash(clip), clip"
    if name:
        way = "DESC" if sort != name else "ASC"
        return f"{sql_name(name)} {way} NULLS LAST, clip"
    return f"{stored}, clip"


def _described(snapshot: Snapshot, chosen: list[Row]) -> list[Row]:
    """Return the page's rows with what is known of each clip, and where its frames are."""
    facts = snapshot.facts.rows(
        "SELECT rowid AS clip, clip_id, labels, captions, split, category FROM clips "
        "WHERE rowid IN (SELECT unnest(?::BIGINT[]))",
        [[row["clip"] for row in chosen]],
    )
    known = {row["clip"]: row for row in facts}
    layouts = layouts_at(
        snapshot.store, [row["sample"] for row in chosen if row["sample"] is not None]
    )
    snapshot.keep(layouts)
    held = {(layout.clip_id, layout.stage): layout for layout in layouts}
    rows = [{**row, **known[row["clip"]]} for row in chosen]
    return [row | _seen(held.get((row["clip_id"], row["stage"]))) for row in rows]


def _seen(layout: Layout | None) -> Row:
    return {
        "frames": len(layout.frames) if layout else 0,
        "has_video": bool(layout and layout.has_video),
        "sound": layout.sound if layout else None,
    }


def value_counts(snapshot: Snapshot, selection: Selection, facet: str) -> list[Row]:
    """Return the values of a facet with the number of clips, most frequent first.

    Other facets of the selection hold, the facet's own choice does not.

    Returns:
        Rows of `value` ('' for a missing one), `clips` and `chosen`; at most 400.
    """
    where = where_of(snapshot, selection.without(facet))
    sql = {"label": _LABELS, "task": _TASKS}.get(facet)
    if facet == "label" and where == "true":  # every clip has a row: nothing to compare
        sql = "SELECT label::VARCHAR AS value, count(*) AS clips FROM fact_labels GROUP BY 1"
    if sql is None:
        name = sql_name(facet)
        sql = f"SELECT {name}::VARCHAR AS value, count(*) AS clips FROM facts WHERE $ GROUP BY 1"
    rows = snapshot.facts.rows(
        f"SELECT coalesce(value, '') AS value, clips FROM ({sql.replace('$', where)}) "
        f"ORDER BY clips DESC, value LIMIT {int(_MOST_VALUES)}"
    )
    chosen = selection.of(facet)
    found = [row | {"chosen": row["value"] in chosen} for row in rows]
    listed = {row["value"] for row in found}
    lost = [{"value": v, "clips": 0, "chosen": True} for v in chosen if v not in listed]
    return lost + found


_LABELS = """
SELECT l.label::VARCHAR AS value, count(*) AS clips
FROM fact_labels l SEMI JOIN (SELECT clip FROM facts WHERE $) f ON f.clip = l.clip GROUP BY 1
"""
_TASKS = """
SELECT t.stream || '/' || t.task || '/' || t.role AS value, count(*) AS clips
FROM task_clips t JOIN clips c ON c.clip_id = t.clip_id
SEMI JOIN (SELECT clip FROM facts WHERE $) f ON f.clip = c.rowid GROUP BY 1
"""


@dataclass(frozen=True)
class Histogram:
    """Counts of a measure over the selection.

    Attributes:
        measure: The measure.
        low: Left edge of the first bin.
        high: Right edge of the last bin.
        counts: Clips of each bin, of equal width; none if no clip has the measure.
    """

    measure: str
    low: float
    high: float
    counts: list[int]

    def edge(self, number: int) -> float:
        """Return the left edge of a bin, or the right edge of the last one."""
        return self.low + (self.high - self.low) * number / max(len(self.counts), 1)


def histogram(snapshot: Snapshot, selection: Selection, measure: str) -> Histogram:
    """Return the histogram of a measure, between its extremes in the whole store."""
    low, high = _extremes(snapshot, measure)
    if low is None or high is None:
        return Histogram(measure, 0.0, 0.0, [])
    where, name = where_of(snapshot, selection.without(measure)), sql_name(measure)
    bins = int(BINS if high > low else 1)
    start, width = sql_literal(low), sql_literal((high - low) / bins or 1.0)
    rows = snapshot.facts.rows(
        f"SELECT least(floor(({name} - {start}) / {width})::INTEGER, {int(bins - 1)}) AS bin, "
        f"count(*) AS clips FROM facts WHERE {name} IS NOT NULL AND isfinite({name}) "
        f"AND {where} GROUP BY 1"
    )
    found = {row["bin"]: row["clips"] for row in rows}
    return Histogram(measure, low, high, [found.get(number, 0) for number in range(bins)])


def _extremes(snapshot: Snapshot, measure: str) -> tuple[float | None, float | None]:
    if ("extremes", measure) not in snapshot.kept:
        name = sql_name(measure)
        (row,) = snapshot.facts.rows(
            f"SELECT min({name}) AS low, max({name}) AS high FROM facts WHERE isfinite({name})"
        )
        snapshot.kept["extremes", measure] = row["low"], row["high"]
    low, high = snapshot.kept["extremes", measure]
    return low, high


def known_measures(snapshot: Snapshot) -> list[str]:
    """Return the measures that any clip has."""
    return [name for name in MEASURES if _extremes(snapshot, name)[0] is not None]


def export_table(snapshot: Snapshot, selection: Selection) -> pa.Table:
    """Return the clip ids of a selection, with dataset, recipe, split, status and labels."""
    where = where_of(snapshot, selection)
    return snapshot.facts.table(
        "SELECT c.clip_id, c.dataset, f.stage::VARCHAR AS stage, c.split, "
        "f.status::VARCHAR AS status, f.verdict::VARCHAR AS verdict, c.labels "
        f"FROM (SELECT * FROM facts WHERE {where}) f JOIN clips c ON c.rowid = f.clip "
        "ORDER BY f.clip, f.stage"
    )
