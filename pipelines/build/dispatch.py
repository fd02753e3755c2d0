"""Run shard jobs on Dask and commit each finished shard to the manifest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from avstore.manifests.catalogue import Writer
from avstore.manifests.ingest import commit_shards
from avstore.pipelines.build.cluster import completed
from avstore.pipelines.build.shard_jobs import PostponedShard, ShardEvents, ShardJob, build_shard
from avstore.pipelines.build.shard_writer import ShardResult
from avstore.pipelines.extract.records import ExtractionResult

if TYPE_CHECKING:
    from distributed import Client

_TOPIC = "avstore-clips"


@dataclass(frozen=True)
class ClipEvent:
    """Clips that a worker has finished.

    Attributes:
        clips: Their ids.
        failure: Why they are not in the tar; None if they are, or may be.
        kept: Whether an interrupted build finished them.
    """

    clips: Sequence[str]
    failure: str | None = None
    kept: bool = False


def run_shards(
    client: "Client",
    writer: Writer,
    jobs: Iterator[ShardJob],
    on_clips: Callable[[ClipEvent], None],
) -> Iterator[ShardResult | PostponedShard]:
    """Build shards, a few per worker at a time; commit and yield each as it finishes.

    A postponed shard is yielded without being committed.

    Args:
        client: The Dask cluster.
        writer: The open manifest.
        jobs: The shards to build.
        on_clips: Called as clips are finished, from another thread; again for the clips of a shard
            whose worker died.

    Raises:
        Exception: What a worker raised (a full disk, a missing folder). Finished shards stay
            committed.
    """
    client.subscribe_topic(_TOPIC, lambda event: on_clips(_event(event[1])))
    for shard in completed(client, partial(_submit, client), jobs):
        if isinstance(shard, ShardResult):
            commit(writer, [shard])
        yield shard
    client.unsubscribe_topic(_TOPIC)


def commit(writer: Writer, shards: Sequence[ShardResult]) -> None:
    """Put finished shards into the manifest in one transaction and publish it to readers."""
    commit_shards(writer.con, [writer.store.root / shard.sidecar for shard in shards])
    writer.publish(force=False)


def _event(facts: Mapping[str, Any]) -> ClipEvent:
    """Return a worker's event without what Dask adds to it."""
    return ClipEvent(facts["clips"], facts.get("failure"), facts.get("kept", False))


def _submit(client: "Client", job: ShardJob) -> Any:
    key = f"shard-{job.shard.path}"
    return client.submit(_build_on_worker, job, key=key, retries=2, pure=False)


def _build_on_worker(job: ShardJob) -> ShardResult | PostponedShard:
    """Build the shard on a Dask worker and log an event as clips are finished."""
    from distributed import get_worker  # noqa: PLC0415 -- fails outside a worker

    worker = get_worker()

    def log_clip(extracted: ExtractionResult) -> None:
        failure = None if extracted.members else str(extracted.verdict)  # msgpack takes no enum
        worker.log_event(_TOPIC, {"clips": [extracted.clip_id], "failure": failure})

    def log_kept(clip_ids: list[str]) -> None:
        worker.log_event(_TOPIC, {"clips": clip_ids, "kept": True})

    return build_shard(job, ShardEvents(log_kept, log_clip))
