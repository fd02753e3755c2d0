"""One base shard's companion: the work of one Dask task. Returns when tar and sidecar stand."""

import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from avstore.manifests.members import member_ranges
from avstore.manifests.shard_reader import LocalReader, Reader, Shard
from avstore.manifests.store import Store, StoreError, committing, sidecar_of
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.features import worker_model as model
from avstore.pipelines.features.batching import batched
from avstore.pipelines.features.extractor import Extractor, check_value
from avstore.pipelines.features.stored_clip import StoredClip, canonical_labels
from avstore.pipelines.features.worker_model import ModelKey

SCHEMA = pa.schema(
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
"""A companion's sidecar: the columns of `feature_samples`; base_sha256 is the base shard's, and
labels_sha256 that of the labels the value was computed with."""

_DECODERS = 4  # threads that read and decode ahead of the model


@dataclass(frozen=True)
class FeatureJob:
    """Everything a worker needs for one companion shard, on a machine that sees the store.

    base: the base shard, relative to `store`; None for a vocabulary, whose labels are `texts`
    (clip_id to text). labels: the clips' labels, where the extractor reads them.
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
class FeatureDone:
    """How a job ended. sidecar: relative to the store. problem: why there is no companion."""

    path: str
    sidecar: str
    clips: int
    problem: str | None = None


def companion_path(base: str, feature: str, fingerprint: str) -> str:
    """The companion's path beside its base shard, relative to the store."""
    return f"{base.removesuffix('.tar')}.{feature}-{fingerprint[:8]}.tar"


def compute(job: FeatureJob) -> FeatureDone:
    """Compute and commit a companion shard: tar, then sidecar.

    What is wrong with one clip leaves the shard undone and is handed back as `problem`.
    """
    sidecar = sidecar_of(job.path)
    extractor, batch = model.loaded(job.key)
    try:
        with _open(job) as clips:
            rows = _write(job, extractor, batch, clips)
    except StoreError as error:
        return FeatureDone(job.path, sidecar, 0, str(error))
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    with committing(job.store / sidecar) as file:
        pq.write_table(table, file, compression="zstd")
    return FeatureDone(job.path, sidecar, len(rows))


class _open:  # noqa: N801 -- reads as a function
    """The job's clips in the shard's order; the base shard stays open meanwhile."""

    def __init__(self, job: FeatureJob) -> None:
        self._job = job
        self._reader = LocalReader(str(job.store))  # the job's own: shards may be rebuilt later

    def __enter__(self) -> list[StoredClip]:
        job = self._job
        if job.base is None:
            return [StoredClip(clip_id, text=text) for clip_id, text in (job.texts or {}).items()]
        return [_stored(job, row, self._reader) for row in _base_rows(job)]

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _base_rows(job: FeatureJob) -> list[dict[str, Any]]:
    """The base sidecar's rows of stored clips, in the shard's order."""
    path = Store(job.store).root / sidecar_of(job.base or "")
    columns = ["clip_id", "stored", "position", "members", "offsets", "sizes", "duration_s"]
    rows = pq.read_table(path, columns=columns).to_pylist()
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
    )


def _write(
    job: FeatureJob, extractor: Extractor, batch: Any, clips: list[StoredClip]
) -> list[dict[str, Any]]:
    """Write the tar; its sidecar's rows."""
    rows: list[dict[str, Any]] = []
    with committing(job.store / job.path) as file:
        tar = ShardTar(file)
        for position, outputs in batched(_ahead(extractor, clips), batch, job.batch_size):
            clip = clips[position]
            value = extractor.value(outputs, clip)
            check_value(extractor, value, clip.clip_id)
            rows.append(_append(tar, job, extractor, clip, position, value))
            clip.forget()
        tar.close()
    return rows


def _ahead(extractor: Extractor, clips: list[StoredClip]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(position, items) of every clip in order, read and decoded by threads ahead of the model."""
    with ThreadPoolExecutor(_DECODERS) as pool:
        futures = [pool.submit(extractor.items, clip) for clip in clips[: 2 * _DECODERS]]
        for position in range(len(clips)):
            items = futures[position].result()
            futures[position] = None  # type: ignore[call-overload]
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
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(value), allow_pickle=False)
    content = buffer.getvalue()
    key = clip.clip_id.partition("/")[2]
    labels = None if clip.labels is None else _sha256(canonical_labels(clip.labels))
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
        "labels_sha256": labels,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
