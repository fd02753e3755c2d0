"""Assign clips to shards: a function of the manifest, recorded before any shard is built.

A planned shard keeps its clips for ever. Clips that arrive later go into new shards.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from avstore.manifests import ledger
from avstore.manifests.columns import table_schema
from avstore.manifests.names import shard_file
from avstore.manifests.path_text import text_path
from avstore.manifests.store import Store


@dataclass(frozen=True)
class PlannedShard:
    """A shard to build.

    Attributes:
        path: Path of the tar, relative to the store.
        split: Split of its clips.
        clip_ids: Its clips, in the order of their members.
    """

    path: str
    split: str
    clip_ids: tuple[str, ...]


# A clip can be planned when its media is stored and no shard has it. A rejected clip is planned
# again only when its media was fetched since, and a retryable one (`machine_killed`) by every
# build. `status` holds all of that.
_UNPLANNED = """
SELECT c.clip_id, c.split, c.position
FROM status e
JOIN status f ON f.clip_id = e.clip_id AND f.stage = 'fetch' AND f.status = 'stored'
JOIN clips c ON c.clip_id = e.clip_id AND c.dataset = $dataset
WHERE e.stage = $stage
  AND (e.status IN ('pending', 'retryable') OR (e.status = 'rejected' AND e.seq < f.seq))
  AND e.clip_id NOT IN (
      SELECT unnest(clip_ids) FROM plans WHERE dataset = $dataset AND stage = $stage AND NOT done)
"""

# The next shard number of each split. A lost plan file must not free the numbers of its shards.
_NEXT_NUMBERS = r"""
SELECT part.split, max(part.number::INTEGER) + 1 AS number
FROM (SELECT regexp_extract(shard, '/([^/.]+)-(\d+)\.tar$', ['split', 'number']) AS part
      FROM (SELECT shard FROM plans UNION ALL SELECT path FROM shards
            UNION ALL SELECT shard FROM dropped)
      WHERE starts_with(shard, $folder))
WHERE part.number <> ''
GROUP BY 1
"""


def plan_new(
    con: duckdb.DuckDBPyConnection,
    dataset: str,
    stage: str,
    shard_clips: int,
    whole_only: bool = False,
) -> pa.Table:
    """Plan the clips that no shard has yet, in annotation order.

    Args:
        con: The manifest.
        dataset: Dataset to plan.
        stage: Extraction stage, `<recipe>-<fp8>`.
        shard_clips: Clips per shard.
        whole_only: Leave an unfilled last shard of a split for later.

    Returns:
        Rows of the manifest table `plans` without `done`, one per shard.
    """
    return con.sql(
        f"""
        WITH unplanned AS ({_UNPLANNED}),
        numbered AS (
            SELECT clip_id, split, position,
                   (row_number() OVER (PARTITION BY split ORDER BY position) - 1) // $size AS chunk
            FROM unplanned),
        next AS ({_NEXT_NUMBERS}),
        chunks AS (
            SELECT split, chunk, list(clip_id ORDER BY position) AS clip_ids,
                   min(position) AS first_position, max(position) AS last_position
            FROM numbered GROUP BY split, chunk
            HAVING NOT $whole_only OR count(*) = $size)
        SELECT $folder || c.split || '-'
                   || lpad((c.chunk + coalesce(n.number, 0))::VARCHAR, 6, '0') || '.tar' AS shard,
               $dataset AS dataset, $stage AS stage, c.split AS split,
               (c.chunk + coalesce(n.number, 0))::INTEGER AS number, c.clip_ids,
               c.first_position, c.last_position
        FROM chunks c LEFT JOIN next n USING (split)
        ORDER BY c.split, number
        """,
        params={
            "dataset": dataset,
            "stage": stage,
            "size": shard_clips,
            "whole_only": whole_only,
            "folder": _folder(dataset, stage),
        },
    ).to_arrow_table()


def plan_shard(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    dataset: str,
    stage: str,
    split: str,
    clips: Mapping[str, int],
) -> pa.Table:
    """Plan one shard of given clips, with the next number of its split that no file has.

    Args:
        con: The manifest.
        store: The store that the shard is written to.
        dataset: Dataset of the clips.
        stage: Extraction stage, `<recipe>-<fp8>`.
        split: Split of the clips.
        clips: Clip ids in the order of their members, each with its position.

    Returns:
        One row of the manifest table `plans` without `done`.
    """
    folder = _folder(dataset, stage)
    planned = dict(con.execute(_NEXT_NUMBERS, {"folder": folder}).fetchall())
    number = max(planned.get(split, 0), _next_on_disk(store, dataset, stage, split))
    row = {
        "shard": store.shard(dataset, stage, split, number),
        "dataset": dataset,
        "stage": stage,
        "split": split,
        "number": number,
        "clip_ids": list(clips),
        "first_position": min(clips.values()),
        "last_position": max(clips.values()),
    }
    return pa.Table.from_pylist([row], schema=table_schema("plans", without=("done",)))


def planned_shard(
    con: duckdb.DuckDBPyConnection, dataset: str, stage: str, split: str, clip_ids: Sequence[str]
) -> str | None:
    """Return the shard that was planned for exactly these clips and is not there, or None."""
    row = con.execute(
        "SELECT shard FROM plans WHERE NOT done AND dataset = ? AND stage = ? AND split = ? "
        "AND clip_ids = ? ORDER BY shard LIMIT 1",
        [dataset, stage, split, list(clip_ids)],
    ).fetchone()
    return str(row[0]) if row else None


def lost_media(con: duckdb.DuckDBPyConnection, store: Store, dataset: str) -> list[tuple[str, str]]:
    """Return (clip id, path) of clips of planned shards whose media the store has lost."""
    rows = con.execute(
        """
        SELECT f.clip_id, f.path FROM last_fetch f
        WHERE f.outcome = 'stored' AND NOT starts_with(f.path, '/') AND f.clip_id IN (
            SELECT unnest(clip_ids) FROM plans WHERE dataset = ? AND NOT done)
        ORDER BY f.clip_id
        """,
        [dataset],
    ).fetchall()
    return [row for row in rows if not os.path.isfile(store.root / text_path(row[1]))]


def _folder(dataset: str, stage: str) -> str:
    """Return the beginning of the paths of a stage's shards."""
    return f"shards/{dataset}/{stage}/"


def _next_on_disk(store: Store, dataset: str, stage: str, split: str) -> int:
    """Return a number above those of all files, companions included, that a shard may replace."""
    first = shard_file(store, store.shard(dataset, stage, split, 0))
    found = (re.match(rf"{re.escape(split)}-([0-9]+)\.", p.name) for p in first.parent.glob("*.*"))
    return max((int(match[1]) + 1 for match in found if match), default=0)


def record_plan(con: duckdb.DuckDBPyConnection, store: Store, run_id: str, plan: pa.Table) -> None:
    """Record new rows of `plans`, first in the ledger and then in the manifest."""
    ledger.save_plan(store, run_id, plan)
    con.register("new_plan", plan)
    con.execute("INSERT INTO plans BY NAME SELECT *, false AS done FROM new_plan")
    con.unregister("new_plan")


def outstanding(con: duckdb.DuckDBPyConnection, dataset: str, stage: str) -> list[PlannedShard]:
    """Return the planned shards that are not done, without clips whose media is not stored."""
    rows = con.execute(
        """
        WITH wanted AS (
            SELECT shard, split, unnest(clip_ids) AS clip_id, generate_subscripts(clip_ids, 1) AS i
            FROM plans WHERE dataset = ? AND stage = ? AND NOT done)
        SELECT w.shard, w.split, list(w.clip_id ORDER BY w.i)
        FROM wanted w JOIN clips USING (clip_id)
        JOIN status f ON f.clip_id = w.clip_id AND f.stage = 'fetch' AND f.status = 'stored'
        GROUP BY w.shard, w.split ORDER BY w.shard
        """,
        [dataset, stage],
    ).fetchall()
    return [PlannedShard(shard, split, tuple(clip_ids)) for shard, split, clip_ids in rows]
