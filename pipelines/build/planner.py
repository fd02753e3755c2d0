"""Assign clips to shards: a function of the manifest, recorded before any shard is built.

A planned shard keeps its clips for ever. Clips that arrive later go into new shards.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from avstore.manifests import ledger
from avstore.manifests.columns import table_schema
from avstore.manifests.names import shard_file
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
# again only when its media was fetched since. `status` holds all of that.
_UNPLANNED = """
SELECT c.clip_id, c.split, c.position
FROM status e
JOIN status f ON f.clip_id = e.clip_id AND f.stage = 'fetch' AND f.status = 'stored'
JOIN clips c ON c.clip_id = e.clip_id AND c.dataset = $dataset
WHERE e.stage = $stage
  AND (e.status = 'pending' OR (e.status = 'rejected' AND e.updated_at < f.updated_at))
  AND e.clip_id NOT IN (
      SELECT unnest(clip_ids) FROM plans WHERE dataset = $dataset AND stage = $stage AND NOT done)
"""


# Numbers of shards in the manifest: a ledger that lost its plans must not reuse them.
_COMMITTED = """
SELECT split, regexp_extract(path, '-([0-9]+)[.]tar$', 1)::INTEGER AS number
FROM shards WHERE starts_with(path, 'shards/' || $dataset || '/' || $stage || '/')
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
        next AS (
            SELECT split, max(number) + 1 AS number FROM (
                SELECT split, number FROM plans WHERE dataset = $dataset AND stage = $stage
                UNION ALL {_COMMITTED}) GROUP BY split),
        chunks AS (
            SELECT split, chunk, list(clip_id ORDER BY position) AS clip_ids,
                   min(position) AS first_position, max(position) AS last_position
            FROM numbered GROUP BY split, chunk
            HAVING NOT $whole_only OR count(*) = $size)
        SELECT 'shards/' || $dataset || '/' || $stage || '/' || c.split || '-'
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
    ((number,),) = con.execute(
        "SELECT coalesce(max(number) + 1, 0) FROM ("
        "SELECT number FROM plans WHERE dataset = $dataset AND stage = $stage AND split = $split "
        f"UNION ALL SELECT number FROM ({_COMMITTED}) WHERE split = $split)",
        {"dataset": dataset, "stage": stage, "split": split},
    ).fetchall()
    number = max(number, _next_on_disk(store, dataset, stage, split))
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
