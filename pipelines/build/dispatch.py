"""Run planned shards on Dask and commit each to the manifest as it is done."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import commit_shards
from avstore.manifests.store import Store
from avstore.pipelines.build.cluster import completed
from avstore.pipelines.build.mask_files import mask_files
from avstore.pipelines.build.planner import PlannedShard
from avstore.pipelines.build.shard_writer import ShardDone, ShardJob, build_shard
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "avstore-clips"


def shard_job(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    dataset: str,
    shard: PlannedShard,
    recipe: Recipe,
    clip_seconds: float,
) -> ShardJob:
    """The job of a planned shard, from the manifest's rows."""
    rows = con.execute(
        """
        SELECT c.clip_id, c.key, c.source_id, c.start_s, c.end_s, f.path, f.offset_s, f.started_at,
               CASE WHEN json_exists(c.extra, '$.masks') THEN c.extra END
        FROM (SELECT unnest($ids) AS clip_id, unnest(range($count)) AS i) w
        JOIN clips c USING (clip_id) JOIN last_fetch_of($ids) f USING (clip_id) ORDER BY w.i
        """,
        {"ids": list(shard.clip_ids), "count": len(shard.clip_ids)},
    ).fetchall()
    sources, facts, fetched, beside = [], [], [], []
    for clip_id, key, source_id, start_s, end_s, path, offset_s, at, extra in rows:
        span = end_s - start_s if start_s is not None and end_s is not None else clip_seconds
        local = path if Path(path).is_absolute() else str(store.root.resolve() / path)
        seconds = min(span, recipe.duration_s)
        sources.append(ClipSource(clip_id, key, local, offset_s or 0.0, seconds))
        facts.append({"source_id": source_id, "start_s": start_s, "end_s": end_s})
        fetched.append(at)
        beside.append(mask_files(json.loads(extra), local) if extra else ())
    return ShardJob(
        store=store.root.resolve(),
        path=shard.path,
        dataset=dataset,
        split=shard.split,
        recipe=recipe,
        sources=tuple(sources),
        facts=tuple(facts),
        fetched_at=tuple(fetched),
        beside=tuple(beside),
    )


def _on_worker(job: ShardJob) -> ShardDone:
    """What a Dask worker runs: the shard, with an event for each clip."""
    from distributed import get_worker  # noqa: PLC0415 -- outside a worker there is none

    worker = get_worker()

    def tell(extracted: ExtractionResult) -> None:
        verdict = extracted.verdict.value if extracted.verdict else None  # plain text for msgpack
        worker.log_event(_TOPIC, {"clip": extracted.clip_id, "verdict": verdict})

    return build_shard(job, tell)


def run_shards(
    client: "Client",
    writer: Writer,
    jobs: Iterator[ShardJob],
    on_clip: Callable[[Any], None],
) -> Iterator[ShardDone]:
    """Build the jobs' shards, a few a worker at a time; commit and yield each when done.

    on_clip: called with an event for each clip, from another thread.
    Raises what a worker raised (a full disk, a vanished folder); finished shards stay committed.
    """
    client.subscribe_topic(_TOPIC, lambda event: on_clip(event[1]))
    for done in completed(client, partial(_submit, client), jobs):
        commit(writer, [done])
        yield done
    client.unsubscribe_topic(_TOPIC)


def _submit(client: "Client", job: ShardJob) -> Any:
    return client.submit(_on_worker, job, key=f"shard-{job.path}", retries=2, pure=False)


def commit(writer: Writer, done: Sequence[ShardDone]) -> None:
    """One transaction for finished shards, then let readers see it."""
    commit_shards(writer.con, [writer.store.root / shard.sidecar for shard in done])
    writer.publish(force=False)
