"""Write the shards of an imported feature in a thread, while the next arrays are read."""

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from avstore.manifests.names import check_name, shard_file, sidecar_file
from avstore.manifests.sealed import tar_facts, write_parquet
from avstore.manifests.store import Store, committing
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.features.companion import COMPANION_SCHEMA
from avstore.pipelines.features.lineage import IMPORTED
from avstore.pipelines.interchange.feature_values import Value

SCHEMA = pa.schema(
    [
        *COMPANION_SCHEMA,
        ("source", pa.string()),
        ("member", pa.string()),
        ("member_bytes", pa.int64()),
        ("member_crc32", pa.int64()),
    ]
)
"""Columns of an imported shard's sidecar: the archive and the file of each value come last."""

_BATCH_BYTES = 2 << 20  # handed over at once: a thread that wakes for each array is slower
_QUEUED_BATCHES = 8


@dataclass(frozen=True, slots=True)
class ImportedValue:
    """A value to store.

    Attributes:
        clip_id: Its clip.
        split: The clip's split.
        value: The array.
        source: Name of the archive or folder.
        member: Path of its file there.
        member_bytes: Size of that file.
        member_crc32: Of that file's content.
    """

    clip_id: str
    split: str
    value: Value
    source: str
    member: str
    member_bytes: int
    member_crc32: int


@dataclass
class _OpenShard:
    """A shard that is being written; closing `file` commits or discards its tar."""

    path: str
    file: ExitStack
    tar: ShardTar
    rows: list[dict[str, Any]] = field(default_factory=list)


class FeatureShards:
    """Write values to shards of `shard_clips` clips each, one open shard a split.

    As a context manager, it commits the open shards at the end; after an exception it discards
    them.

    Args:
        store: The store's paths.
        dataset: The dataset.
        feature: Name of the feature.
        fingerprint: The feature's fingerprint.
        numbers: The number of the next shard, by split.
        shard_clips: Clips per shard.
    """

    def __init__(
        self,
        store: Store,
        dataset: str,
        feature: str,
        fingerprint: str,
        numbers: Mapping[str, int],
        shard_clips: int,
    ) -> None:
        self._store, self._dataset = store, dataset
        self._feature, self._fingerprint = feature, fingerprint
        self._numbers = dict(numbers)
        self._shard_clips = shard_clips
        self._open: dict[str, _OpenShard] = {}
        self._batch: list[ImportedValue] = []
        self._batch_bytes = 0
        self._queue: queue.Queue[list[ImportedValue] | bool] = queue.Queue(_QUEUED_BATCHES)
        self._discarding = False
        self._finished: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FeatureShards":
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._hand_over()
        self._queue.put(kind is None)
        self._thread.join()
        if kind is None:
            self._raise()

    def add(self, value: ImportedValue) -> None:
        """Append a value to the open shard of its split.

        Raises:
            OSError: An earlier value could not be written.
        """
        self._raise()
        self._batch.append(value)
        self._batch_bytes += len(value.value.content)
        if self._batch_bytes >= _BATCH_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        self._queue.put(self._batch)
        self._batch, self._batch_bytes = [], 0

    def finished(self) -> Iterator[Path]:
        """Yield the sidecars of the shards that were committed since the last call."""
        while not self._finished.empty():
            yield self._finished.get()

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            while not isinstance(batch := self._queue.get(), bool):
                self._append_all(batch)
            self._end(keep=batch)
        except BaseException as error:  # it is raised in the thread that adds
            self._error = error
            self._end(keep=False)
            while not isinstance(self._queue.get(), bool):
                pass  # the thread that adds must not wait for room

    def _end(self, keep: bool) -> None:
        """Commit or discard the open shards."""
        self._discarding = not keep
        for shard in list(self._open.values()):
            if keep:
                self._commit(shard)
            else:
                with suppress(OSError):  # a full disk refuses what is discarded anyway
                    shard.file.close()
        self._open.clear()

    def _append_all(self, batch: list[ImportedValue]) -> None:
        """Append values to the open shards of their splits, in as few pieces as possible."""
        by_split: dict[str, list[ImportedValue]] = {}
        for item in batch:
            by_split.setdefault(item.split, []).append(item)
        for split, items in by_split.items():
            done = 0
            while done < len(items):
                shard = self._open.get(split) or self._new_shard(split)
                self._open[split] = shard
                room = self._shard_clips - len(shard.rows)
                self._append(shard, items[done : done + room])
                done += room
                if len(shard.rows) >= self._shard_clips:
                    self._commit(self._open.pop(split))

    def _append(self, shard: _OpenShard, items: list[ImportedValue]) -> None:
        keys = [item.clip_id.partition("/")[2] for item in items]
        names = [f"{key}.{self._feature}.npy" for key in keys]
        contents = [item.value.content for item in items]
        offsets = shard.tar.add_all(list(zip(names, contents, strict=True)))
        for item, offset in zip(items, offsets, strict=True):
            shard.rows.append(
                {
                    "shard": shard.path,
                    "feature": self._feature,
                    "fingerprint": self._fingerprint,
                    "clip_id": item.clip_id,
                    "position": len(shard.rows),
                    "offset": offset,
                    "size": len(item.value.content),
                    "shape": _shape_text(item.value.array.shape),
                    "dtype": item.value.dtype,
                    "crc32": item.value.crc32,
                    "source": item.source,
                    "member": item.member,
                    "member_bytes": item.member_bytes,
                    "member_crc32": item.member_crc32,
                }
            )

    def _new_shard(self, split: str) -> _OpenShard:
        number = self._numbers.get(split, 0)
        self._numbers[split] = number + 1
        base = self._store.shard(self._dataset, IMPORTED, check_name("split", split), number)
        suffix = f".{self._feature}-{self._fingerprint[:8]}.tar"
        path = base.removesuffix(".tar") + suffix
        file = ExitStack()
        target = shard_file(self._store, path)
        written = file.enter_context(committing(target, lambda: not self._discarding))
        return _OpenShard(path, file, ShardTar(written))

    def _commit(self, shard: _OpenShard) -> None:
        """Commit the tar, then its sidecar."""
        shard.tar.close()
        shard.file.close()
        sidecar = sidecar_file(self._store, shard.path)
        table = pa.Table.from_pylist(shard.rows, schema=SCHEMA)
        write_parquet(sidecar, table, tar_facts(shard.tar.bytes, shard.tar.sha256))
        self._finished.put(sidecar)


@lru_cache(maxsize=4096)
def _shape_text(shape: tuple[int, ...]) -> str:
    return json.dumps(list(shape))
