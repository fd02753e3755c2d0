"""Compute one base shard's companion shard: the work of one Dask task."""

import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from avstore.manifests.members import member_ranges
from avstore.manifests.names import shard_file, sidecar_file
from avstore.manifests.partials import JournalEntry
from avstore.manifests.sealed import read_parquet, tar_facts, write_parquet
from avstore.manifests.shard_reader import LocalReader, Reader, Shard
from avstore.manifests.store import Store, StoreError, sidecar_of
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.build.partial_tar import open_partial
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.features.batching import run_in_batches
from avstore.pipelines.features.extractor import BatchFunction, Extractor, check_value
from avstore.pipelines.features.stored_clip import StoredClip, labels_sha256
from avstore.pipelines.features.worker_model import ModelKey, choose_device, loaded_model

COMPANION_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("feature", pa.string()),
        ("fingerprint", pa.string()),
        ("clip_id", pa.string()),
        ("position", pa.int32()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("shape", pa.string()),
        ("dtype", pa.string()),
        ("source_sha256", pa.string()),
        ("crc32", pa.int64()),
        ("base_sha256", pa.string()),
        ("labels_sha256", pa.string()),
    ]
)
"""Columns of a companion's sidecar and of table `feature_samples`.

base_sha256 is that of the base shard; labels_sha256 that of the labels the value depends on.
"""

# In the order of StoredVideo.
_VIDEO = ("video_frames", "video_rate", "gop_frames", "gop_offsets", "gop_crc32", "video_codec")
_DECODE_THREADS = 4  # threads that read and decode clips before the model needs them


@dataclass(frozen=True)
class FeatureJob:
    """Define one companion shard to compute, on a machine that can read the store.

    Attributes:
        store: Folder of the store.
        path: The companion, relative to the store.
        fingerprint: The feature's fingerprint.
        key: Identifies the model.
        batch_size: Items per batch.
        base: The base shard, relative to the store; None for a vocabulary.
        base_sha256: Digest of the base shard, or of the labels.
        labels: Labels by clip_id, if the extractor reads them.
        texts: Texts by clip_id, for a vocabulary.
    """

    store: Path
    path: str
    fingerprint: str
    key: ModelKey
    batch_size: int
    base: str | None = None
    base_sha256: str = ""
    labels: Mapping[str, tuple[str, ...]] | None = None
    texts: Mapping[str, str] | None = None


@dataclass(frozen=True)
class FeatureJobResult:
    """Report how a job ended.

    Attributes:
        path: The companion, relative to the store.
        sidecar: Its sidecar, relative to the store.
        clips: Number of computed values.
        problem: Why there is no companion; None if there is one.
    """

    path: str
    sidecar: str
    clips: int
    problem: str | None = None


def companion_path(base: str, feature: str, fingerprint: str) -> str:
    """Return the path of a base shard's companion, relative to the store."""
    return f"{base.removesuffix('.tar')}.{feature}-{fingerprint[:8]}.tar"


def compute_companion(
    job: FeatureJob, on_clip: Callable[[int, bool], None] = lambda _done, _kept: None
) -> FeatureJobResult:
    """Compute and commit a companion shard: tar, then sidecar.

    Values that an interrupted build computed are kept. A clip that cannot be computed leaves the
    shard without a companion; `problem` says why.

    Args:
        job: The companion to compute.
        on_clip: Called after each clip with the number of finished clips, and first with that of
            the clips whose values are kept, and True.
    """
    sidecar = sidecar_of(job.path)
    extractor, batch = loaded_model(job.key)
    try:
        with _open_clips(job, "video" in extractor.reads) as clips:
            _write(job, extractor, batch, clips, on_clip)
    except StoreError as error:
        return FeatureJobResult(job.path, sidecar, 0, str(error))
    return FeatureJobResult(job.path, sidecar, len(clips))


@contextmanager
def _open_clips(job: FeatureJob, videos: bool) -> Iterator[list[StoredClip]]:
    """Yield the job's clips in the shard's order, with the base shard open.

    videos: Whether the extractor reads stored videos.
    """
    if job.base is None:
        yield [StoredClip(clip_id, text=text) for clip_id, text in (job.texts or {}).items()]
        return
    # Use a reader of this job alone: the shard may be rebuilt under its path later.
    with closing(LocalReader(str(job.store))) as reader:
        yield [_stored(job, row, reader) for row in _base_rows(job, videos)]


def _base_rows(job: FeatureJob, videos: bool) -> list[dict[str, Any]]:
    """Return the base sidecar's rows of stored clips, in the shard's order."""
    path = sidecar_file(Store(job.store), job.base)
    columns = ["clip_id", "stored", "position", "members", "offsets", "sizes", "duration_s"]
    if videos:
        columns += _VIDEO
    rows = read_parquet(path, columns).to_pylist()
    return sorted((row for row in rows if row["stored"]), key=lambda row: row["position"])


def _stored(job: FeatureJob, row: Mapping[str, Any], reader: Reader) -> StoredClip:
    clip_id = row["clip_id"]
    shard = Shard(job.base or "", job.base_sha256, 0)
    return StoredClip(
        clip_id,
        reader,
        member_ranges(shard, clip_id, row["members"], row["offsets"], row["sizes"]),
        row["duration_s"] or 0.0,
        None if job.labels is None else tuple(job.labels.get(clip_id, ())),
        video=_video_of(row),
    )


def _video_of(row: Mapping[str, Any]) -> StoredVideo | None:
    """Return the stored video of a sidecar's row; None without one, or if none is read."""
    if row.get("gop_offsets") is None:
        return None
    return StoredVideo(*(row[name] for name in _VIDEO))


def _write(
    job: FeatureJob,
    extractor: Extractor,
    batch: BatchFunction,
    clips: list[StoredClip],
    on_clip: Callable[[int, bool], None],
) -> None:
    """Write and commit the tar and its sidecar."""
    facts = {
        "shard": job.path,
        "fingerprint": job.fingerprint,
        "base_sha256": job.base_sha256,
        "batch_size": job.batch_size,  # it and the device may change the last digits
        "device": choose_device(job.key.device).partition(":")[0],
    }

    def keep(position: int, entry: JournalEntry) -> dict[str, Any] | None:
        row = entry.row
        same = position < len(clips) and row["clip_id"] == clips[position].clip_id
        return row if same and row["labels_sha256"] == _labels_sha256(clips[position]) else None

    with open_partial(shard_file(Store(job.store), job.path), facts) as partial:
        rows = partial.take_over(keep)
        on_clip(len(rows), True)
        items = _prefetch(extractor, clips, len(rows))
        for position, outputs in run_in_batches(items, batch, job.batch_size, len(rows)):
            clip = clips[position]
            value = extractor.value(outputs, clip)
            check_value(extractor, value, clip.clip_id)
            rows.append(_append(partial.tar, job, extractor, clip, position, value))
            partial.record(rows[-1], {})
            clip.drop_cache()
            on_clip(len(rows), False)
        partial.tar.close()
        partial.commit()
        table = pa.Table.from_pylist(rows, schema=COMPANION_SCHEMA)
        write_parquet(
            sidecar_file(Store(job.store), job.path),
            table,
            tar_facts(partial.tar.bytes, partial.tar.sha256),
        )


def _labels_sha256(clip: StoredClip) -> str | None:
    return None if clip.labels is None else labels_sha256(clip.labels)


def _prefetch(
    extractor: Extractor, clips: list[StoredClip], first: int
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (position, items) of every clip in order, read and decoded by threads.

    first: Position of the first clip whose value is missing; without any, nothing is read.
    """
    if first == len(clips):
        return
    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        futures = [pool.submit(extractor.items, clip) for clip in clips[: 2 * _DECODE_THREADS]]
        for position in range(len(clips)):
            items = futures[position].result()
            futures[position] = None  # type: ignore[call-overload]
            if position < first:
                clips[position].drop_cache()
            if len(futures) < len(clips):
                futures.append(pool.submit(extractor.items, clips[len(futures)]))
            yield position, items


def _append(
    tar: ShardTar,
    job: FeatureJob,
    extractor: Extractor,
    clip: StoredClip,
    position: int,
    value: NDArray[Any],
) -> dict[str, Any]:
    """Append a value to the tar and return its sidecar row."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(value), allow_pickle=False)
    content = buffer.getvalue()
    key = clip.clip_id.partition("/")[2]
    return {
        "shard": job.path,
        "feature": extractor.name,
        "fingerprint": job.fingerprint,
        "clip_id": clip.clip_id,
        "position": position,
        "offset": tar.add(f"{key}.{extractor.name}.npy", content),
        "size": len(content),
        "shape": json.dumps(list(value.shape)),
        "dtype": str(value.dtype),
        "source_sha256": clip.source_sha256(),
        "crc32": zlib.crc32(content),
        "base_sha256": job.base_sha256,
        "labels_sha256": _labels_sha256(clip),
    }
