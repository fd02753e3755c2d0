"""Run shard jobs on Dask and commit each finished shard to the manifest."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import commit_shards
from avstore.pipelines.build.cluster import completed
from avstore.pipelines.build.shard_jobs import PostponedShard, ShardJob, build_shard
from avstore.pipelines.build.shard_writer import ShardResult
from avstore.pipelines.extract.records import ExtractionResult

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "avstore-clips"


def run_shards(
    client: "Client",
    writer: Writer,
    jobs: Iterator[ShardJob],
    on_clip: Callable[[Any], None],
) -> Iterator[ShardResult | PostponedShard]:
    """Build shards, a few per worker at a time; commit and yield each as it finishes.

    A postponed shard is yielded without being committed.

    Args:
        client: The Dask cluster.
        writer: The open manifest.
        jobs: The shards to build.
        on_clip: Called with an event for each clip, from another thread.

    Raises:
        Exception: What a worker raised (a full disk, a missing folder). Finished shards stay
            committed.
    """
    client.subscribe_topic(_TOPIC, lambda event: on_clip(event[1]))
    for shard in completed(client, partial(_submit, client), jobs):
        if isinstance(shard, ShardResult):
            commit(writer, [shard])
        yield shard
    client.unsubscribe_topic(_TOPIC)


def commit(writer: Writer, shards: Sequence[ShardResult]) -> None:
    """Put finished shards into the manifest in one transaction and publish it to readers."""
    commit_shards(writer.con, [writer.store.root / shard.sidecar for shard in shards])
    writer.publish(force=False)


def _submit(client: "Client", job: ShardJob) -> Any:
    key = f"shard-{job.shard.path}"
    return client.submit(_build_on_worker, job, key=key, retries=2, pure=False)


def _build_on_worker(job: ShardJob) -> ShardResult | PostponedShard:
    """Build the shard on a Dask worker and log an event for each clip."""
    from distributed import get_worker  # noqa: PLC0415 -- fails outside a worker

    worker = get_worker()

    def log_clip(extracted: ExtractionResult) -> None:
        verdict = extracted.verdict.value if extracted.verdict else None  # msgpack takes no enum
        worker.log_event(_TOPIC, {"clip": extracted.clip_id, "verdict": verdict})

    return build_shard(job, log_clip)
