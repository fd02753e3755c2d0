"""A query's clips as a data set that needs nothing of ours: WebDataset, Parquet, or folders."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.manifests.stored_clips import BASE_FEATURES
from avstore.pipelines.build.shard_tar import ShardTar


class Format(StrEnum):
    """webdataset: tar files of shard_clips each. parquet: the same as tables. folders: a folder
    a clip, and index.parquet."""

    WEBDATASET = "webdataset"
    PARQUET = "parquet"
    FOLDERS = "folders"


@dataclass(frozen=True)
class Exported:
    """What was written. skipped: clips of the query that are not stored."""

    clips: int
    files: int
    bytes: int
    skipped: int


@dataclass(frozen=True)
class _Clip:
    """A clip to write. key: unique in the export. row: the query's columns."""

    key: str
    row: dict[str, Any]
    values: dict[str, Any]


class _Sink:
    """A folder on any file system; counts what goes into it."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url)
        if self.fs.exists(self.root) and self.fs.find(self.root):
            raise StoreError(f"{url} is not empty; export writes to a new folder, name another")
        self.fs.makedirs(self.root, exist_ok=True)
        self.files = 0
        self.bytes = 0

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> None:
        """Write one file; where `fill` fails, it is not left half written under its name."""
        path = f"{self.root.rstrip('/')}/{name}"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with self.fs.transaction, self.fs.open(path, "wb") as file:
            fill(file)
        self.files += 1
        self.bytes += int(self.fs.size(path) or 0)


def export(
    store: OpenStore,
    sql: str,
    features: Sequence[str],
    out: str,
    output: Format = Format.WEBDATASET,
    recipe: str | None = None,
    shard_clips: int = 1000,
    skip_missing: bool = False,
) -> Exported:
    """Write the clips of `sql` (a column clip_id; in its order) with these features to `out`.

    Raises StoreError where the query has no clip_id, names a clip twice, where a feature is
    missing of a clip, or `out` is not empty. `export.json`, written last, says what it is.
    """
    rows = _rows(store, sql)
    stored = _stored(store, [row["clip_id"] for row in rows], recipe)
    kept = [row for row in rows if row["clip_id"] in stored]
    if len(kept) < len(rows) and not skip_missing:
        example = next(row["clip_id"] for row in rows if row["clip_id"] not in stored)
        raise StoreError(
            f"{len(rows) - len(kept)} of the query's {len(rows)} clips are not stored, for one "
            f"{example}; select FROM trainable, or pass --skip-missing"
        )
    if not kept:
        raise StoreError("the query gives no stored clip: nothing to export")
    sink = _Sink(out)
    write = {
        Format.WEBDATASET: _write_webdataset,
        Format.PARQUET: _write_parquet,
        Format.FOLDERS: _write_folder,
    }[output]
    keys = _keys([row["clip_id"] for row in kept])
    size = min(shard_clips, 100) if output is Format.FOLDERS else shard_clips
    for number, start in enumerate(range(0, len(kept), size)):
        part = kept[start : start + size]
        write(sink, number, list(_clips(store, part, keys, features, recipe)))
    if output is Format.FOLDERS:
        index = pa.Table.from_pylist([{"key": keys[r["clip_id"]], **r} for r in kept])
        sink.write("index.parquet", lambda file: pq.write_table(index, file))
    done = Exported(len(kept), sink.files, sink.bytes, len(rows) - len(kept))
    _write_facts(store, sink, sql, features, output, done)
    return done


def _rows(store: OpenStore, sql: str) -> list[dict[str, Any]]:
    answer = store.query(sql)
    if "clip_id" not in answer.table.column_names:
        raise StoreError(
            f"the query has no column clip_id, only {', '.join(answer.table.column_names)}"
        )
    rows = answer.rows()
    counts = Counter(row["clip_id"] for row in rows).most_common(1)
    if counts and counts[0][1] > 1:
        raise StoreError(
            f"the query names {counts[0][0]} {counts[0][1]} times; SELECT DISTINCT, or one recipe "
            "(WHERE recipe = '…')"
        )
    return rows


def _stored(store: OpenStore, ids: list[str], recipe: str | None) -> set[str]:
    found = store.query(
        "SELECT DISTINCT s.clip_id FROM samples s JOIN shards h ON h.path = s.shard "
        "WHERE s.clip_id IN (SELECT unnest($ids)) AND ($recipe IS NULL OR h.recipe = $recipe "
        "OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)",
        {"ids": ids, "recipe": recipe},
    )
    return set(found.table.column(0).to_pylist())


def _keys(ids: list[str]) -> dict[str, str]:
    """The dataset's own key, or <dataset>_<key> where two datasets share one."""
    bare = Counter(clip_id.split("/", 1)[1] for clip_id in ids)
    return {i: key if bare[key := i.split("/", 1)[1]] == 1 else i.replace("/", "_", 1) for i in ids}


def _clips(
    store: OpenStore,
    rows: list[dict[str, Any]],
    keys: dict[str, str],
    features: Sequence[str],
    recipe: str | None,
) -> Iterator[_Clip]:
    ids = [row["clip_id"] for row in rows]
    read = {name: store.read(name, ids, recipe) for name in features}
    for row in rows:
        values = {name: read[name][row["clip_id"]] for name in features}
        yield _Clip(keys[row["clip_id"]], row, values)


def _members(clip: _Clip) -> Iterator[tuple[str, bytes]]:
    """(suffix, content): the query's row as json, then the features in the order asked for."""
    about = {**_json_of(clip.values.get("json")), **clip.row}
    yield "json", json.dumps(about, default=_plain, sort_keys=True).encode()
    for name, value in clip.values.items():
        if name == "frames":
            for number, frame in enumerate(value):
                yield f"f{number:03d}.jpg", frame
        elif name == "audio":
            yield ("flac" if value[:4] == b"fLaC" else "wav"), value
        elif name != "json":
            yield f"{name}.npy", _npy(value)


def _json_of(content: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content) if content else {}
    return found


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_webdataset(sink: _Sink, number: int, clips: list[_Clip]) -> None:
    def fill(file: BinaryIO) -> None:
        tar = ShardTar(file)
        for clip in clips:
            for suffix, content in _members(clip):
                tar.add(f"{clip.key}.{suffix}", content)
        tar.close()

    sink.write(f"{number:06d}.tar", fill)


def _write_folder(sink: _Sink, number: int, clips: list[_Clip]) -> None:
    for clip in clips:
        for suffix, content in _members(clip):
            sink.write(f"{clip.key}/{suffix}", lambda file, data=content: file.write(data))  # type: ignore[misc]


def _write_parquet(sink: _Sink, number: int, clips: list[_Clip]) -> None:
    """Frames as a list of JPEG bytes, audio as FLAC bytes, arrays flat beside their shape."""
    columns: dict[str, Any] = {"key": [clip.key for clip in clips]}
    rows = pa.Table.from_pylist([clip.row for clip in clips])
    for name in clips[0].values:
        values = [clip.values[name] for clip in clips]
        if name in BASE_FEATURES and name != "fbank":
            columns[name] = values
            continue
        columns[name] = [np.asarray(value).ravel() for value in values]
        columns[f"{name}_shape"] = [list(np.asarray(value).shape) for value in values]
    table = pa.table(columns)
    for name in rows.column_names:
        table = table.append_column(name if name not in columns else f"row_{name}", rows[name])
    sink.write(
        f"{number:06d}.parquet", lambda file: pq.write_table(table, file, compression="zstd")
    )


def _write_facts(
    store: OpenStore,
    sink: _Sink,
    sql: str,
    features: Sequence[str],
    output: Format,
    done: Exported,
) -> None:
    facts = {
        "sql": sql,
        "features": list(features),
        "format": output,
        "clips": done.clips,
        "skipped": done.skipped,
        "datasets": store.query("SELECT name, version, annotation_sha256 FROM datasets").rows(),
        "recipes": store.query("SELECT DISTINCT recipe, fingerprint FROM shards").rows(),
        "derived": store.query("SELECT * FROM features").rows(),
    }
    content = json.dumps(facts, indent=1, default=_plain).encode()
    sink.write("export.json", lambda file: file.write(content))  # type: ignore[arg-type,return-value]
