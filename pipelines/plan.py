"""Which clips go into which shard: a function of the manifest, written down before the work.

A planned shard keeps its clips for ever. Clips that arrive later go into new shards.
"""

from dataclasses import dataclass

import duckdb
import pyarrow as pa


@dataclass(frozen=True)
class PlannedShard:
    """A shard to build. path: relative to the store. clip_ids: in member order."""

    path: str
    split: str
    clip_ids: tuple[str, ...]


# A clip can be planned when its media is there and no shard has it. One that was rejected is
# planned again only when its media was fetched anew since.
_UNPLANNED = """
SELECT c.clip_id, c.split, c.position
FROM clips c
JOIN last_fetch f USING (clip_id)
LEFT JOIN quality q ON q.clip_id = c.clip_id AND q.fingerprint = $fingerprint
LEFT JOIN samples s ON s.clip_id = c.clip_id AND s.fingerprint = $fingerprint
WHERE c.dataset = $dataset AND f.outcome = 'stored' AND s.clip_id IS NULL
  AND (q.clip_id IS NULL OR q.extracted_at < f.started_at)
  AND c.clip_id NOT IN (
      SELECT unnest(clip_ids) FROM plans WHERE dataset = $dataset AND stage = $stage AND NOT done)
"""


def plan_new(
    con: duckdb.DuckDBPyConnection,
    dataset: str,
    stage: str,
    fingerprint: str,
    shard_clips: int,
    whole_only: bool = False,
) -> pa.Table:
    """Plan the clips that no shard has yet, in annotation order; the rows of `plans` less `done`.

    shard_clips: clips a shard. whole_only: leave an unfilled last shard of a split for later.
    """
    return con.sql(
        f"""
        WITH unplanned AS ({_UNPLANNED}),
        numbered AS (
            SELECT clip_id, split, position,
                   (row_number() OVER (PARTITION BY split ORDER BY position) - 1) // $size AS chunk
            FROM unplanned),
        next AS (
            SELECT split, max(number) + 1 AS number
            FROM plans WHERE dataset = $dataset AND stage = $stage GROUP BY split),
        chunks AS (
            SELECT split, chunk, list(clip_id ORDER BY position) AS clip_ids
            FROM numbered GROUP BY split, chunk
            HAVING NOT $whole_only OR count(*) = $size)
        SELECT 'shards/' || $dataset || '/' || $stage || '/' || c.split || '-'
                   || lpad((c.chunk + coalesce(n.number, 0))::VARCHAR, 6, '0') || '.tar' AS shard,
               $dataset AS dataset, $stage AS stage, c.split AS split,
               (c.chunk + coalesce(n.number, 0))::INTEGER AS number, c.clip_ids
        FROM chunks c LEFT JOIN next n USING (split)
        ORDER BY c.split, number
        """,
        params={
            "dataset": dataset,
            "stage": stage,
            "fingerprint": fingerprint,
            "size": shard_clips,
            "whole_only": whole_only,
        },
    ).to_arrow_table()


def record_plan(con: duckdb.DuckDBPyConnection, plan: pa.Table) -> None:
    """Put new rows of `plans` into the manifest."""
    con.register("new_plan", plan)
    con.execute("INSERT INTO plans SELECT *, false FROM new_plan")
    con.unregister("new_plan")


def outstanding(con: duckdb.DuckDBPyConnection, dataset: str, stage: str) -> list[PlannedShard]:
    """Planned shards that are not done, without the clips that are no longer there."""
    rows = con.execute(
        """
        WITH wanted AS (
            SELECT shard, split, unnest(clip_ids) AS clip_id, generate_subscripts(clip_ids, 1) AS i
            FROM plans WHERE dataset = ? AND stage = ? AND NOT done)
        SELECT w.shard, w.split, list(w.clip_id ORDER BY w.i)
        FROM wanted w JOIN clips USING (clip_id)
        JOIN last_fetch f ON f.clip_id = w.clip_id AND f.outcome = 'stored'
        GROUP BY w.shard, w.split ORDER BY w.shard
        """,
        [dataset, stage],
    ).fetchall()
    return [PlannedShard(shard, split, tuple(clip_ids)) for shard, split, clip_ids in rows]
