"""Export the clips of a query as a stand-alone dataset: WebDataset, Parquet or folders."""

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

from avstore.manifests.library import OpenStore
from avstore.manifests.names import check_name
from avstore.manifests.sealed import parquet_bytes
from avstore.manifests.store import StoreError
from avstore.manifests.stored_clips import BASE_FEATURES, current_name, stored_features
from avstore.pipelines.build.shard_tar import ShardTar

# Columns that stock WebDataset readers decode as members: a class number and a text.
_TEXT_MEMBERS = ("cls", "txt")


class ExportFormat(StrEnum):
    """The format of an export.

    Attributes:
        WEBDATASET: Tar files of `shard_clips` clips each.
        PARQUET: Tables of `shard_clips` clips each.
        FOLDERS: One folder per clip, and index.parquet.
    """

    WEBDATASET = "webdataset"
    PARQUET = "parquet"
    FOLDERS = "folders"


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Attributes:
        clips: Clips written.
        files: Files written.
        bytes: Their total size.
        skipped: Clips of the query that are not stored.
    """

    clips: int
    files: int
    bytes: int
    skipped: int


@dataclass(frozen=True)
class _Clip:
    """A clip to write; key: unique in the export, row: the query's columns, values: by feature."""

    key: str
    row: dict[str, Any]
    values: dict[str, Any]


class _OutputFolder:
    """A new folder on any fsspec file system, with counts of the files and bytes written."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url)
        if self.fs.exists(self.root) and self.fs.find(self.root):
            raise StoreError(f"{url} is not empty; choose a new folder")
        self.fs.makedirs(self.root, exist_ok=True)
        self.files = 0
        self.bytes = 0

    def write(self, name: str, fill: Callable[[BinaryIO], object]) -> None:
        """Write one file; if `fill` fails, no file of that name is left."""
        path = f"{self.root.rstrip('/')}/{name}"
        self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with self.fs.transaction, self.fs.open(path, "wb") as file:
            fill(file)
        self.files += 1
        self.bytes += int(self.fs.size(path) or 0)


def export(
    store: OpenStore,
    sql: str,
    features: Sequence[str] | None,
    out: str,
    output: ExportFormat = ExportFormat.WEBDATASET,
    recipe: str | None = None,
    shard_clips: int = 1000,
    skip_missing: bool = False,
) -> ExportResult:
    """Write the clips of a query, in its order, with their features to a new folder.

    `export.json`, written last, records the query, the features and the datasets.

    Args:
        store: The store.
        sql: A query with a column clip_id; further columns are exported too.
        features: Base features (frames, video, waveform, fbank, json) and derived features; None
            for the first four, as far as the clips have them.
        out: Folder or fsspec URL; must not exist or be empty.
        output: Format of the export.
        recipe: A recipe name, or <recipe>-<fp8>, if several have the clips.
        shard_clips: Clips per file.
        skip_missing: Skip clips that are not stored.

    Raises:
        StoreError: The query has no column clip_id, returns a clip twice or no stored clip, a
            clip or feature is missing, or `out` is not empty.
    """
    rows = _rows(store, sql)
    if features is None:
        features = stored_features(store, [row["clip_id"] for row in rows], recipe)
    names = _names(features)
    kept = _stored_rows(store, rows, names, recipe, skip_missing)
    folder = _OutputFolder(out)
    write = {
        ExportFormat.WEBDATASET: _write_webdataset,
        ExportFormat.PARQUET: _write_parquet,
        ExportFormat.FOLDERS: _write_folder,
    }[output]
    keys = _keys([row["clip_id"] for row in kept])
    size = min(shard_clips, 100) if output is ExportFormat.FOLDERS else shard_clips
    for number, start in enumerate(range(0, len(kept), size)):
        part = kept[start : start + size]
        write(folder, number, list(_clips(store, part, keys, features, recipe)))
    if output is ExportFormat.FOLDERS:
        index = pa.Table.from_pylist([{"key": keys[r["clip_id"]], **r} for r in kept])
        folder.write("index.parquet", lambda file: file.write(parquet_bytes(index)))
    result = ExportResult(len(kept), folder.files, folder.bytes, len(rows) - len(kept))
    _write_facts(store, folder, sql, features, output, result)
    return result


def _names(features: Sequence[str]) -> list[str]:
    """Return the features by their current names. Raise StoreError if one is named twice."""
    for name in features:
        check_name("feature", name)
    names = [current_name(name) for name in features]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise StoreError(f"the features name {', '.join(repeated)} more than once; name it once")
    return names


def _rows(store: OpenStore, sql: str) -> list[dict[str, Any]]:
    result = store.query(sql)
    if "clip_id" not in result.table.column_names:
        raise StoreError(
            f"the query has no column clip_id, only {', '.join(result.table.column_names)}"
        )
    rows = result.rows()
    counts = Counter(row["clip_id"] for row in rows).most_common(1)
    if counts and counts[0][1] > 1:
        raise StoreError(
            f"the query returns {counts[0][0]} {counts[0][1]} times; use SELECT DISTINCT, or one "
            "recipe (WHERE recipe = '…')"
        )
    return rows


_STORED = """
SELECT DISTINCT s.clip_id FROM samples s JOIN shards h ON h.path = s.shard
WHERE s.clip_id IN (SELECT unnest($ids)) AND ($recipe IS NULL OR h.recipe = $recipe
      OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)
"""
# Clips without a base shard, if all that is exported are derived features that they have.
_IMPORTED = """
UNION
SELECT clip_id FROM feature_samples
WHERE clip_id IN (SELECT unnest($ids)) AND is_imported(shard)
  AND (list_contains($features, feature)
       OR list_contains($features, feature || '-' || left(fingerprint, 8)))
GROUP BY clip_id HAVING count(DISTINCT feature) = len($features)
"""


def _stored_rows(
    store: OpenStore,
    rows: list[dict[str, Any]],
    features: Sequence[str],
    recipe: str | None,
    skip_missing: bool,
) -> list[dict[str, Any]]:
    """Return the rows of stored clips; StoreError if others may not be skipped or none is left."""
    values: dict[str, Any] = {"ids": [row["clip_id"] for row in rows], "recipe": recipe}
    query = _STORED
    if features and not {*features} & {*BASE_FEATURES}:
        query, values["features"] = query + _IMPORTED, list(features)
    stored = set(store.query(query, values).table.column(0).to_pylist())
    kept = [row for row in rows if row["clip_id"] in stored]
    if len(kept) < len(rows) and not skip_missing:
        example = next(row["clip_id"] for row in rows if row["clip_id"] not in stored)
        raise StoreError(
            f"{len(rows) - len(kept)} of the query's {len(rows)} clips are not stored, for example "
            f"{example}{_alone(store, example)}; select FROM trainable, or pass --skip-missing"
        )
    if not kept:
        raise StoreError("the query returns no stored clip: nothing to export")
    return kept


def _alone(store: OpenStore, clip_id: str) -> str:
    """Return, in words, which features a clip without a base shard has; '' for another clip."""
    found = store.query(
        "SELECT DISTINCT feature FROM feature_samples WHERE clip_id = $id AND is_imported(shard) "
        "AND clip_id NOT IN (SELECT clip_id FROM samples) ORDER BY feature",
        {"id": clip_id},
    ).rows()
    names = ", ".join(row["feature"] for row in found)
    return f" (without a base shard it has only imported features: {names})" if names else ""


def _keys(ids: list[str]) -> dict[str, str]:
    """Return each clip's key, or <dataset>_<key> where two datasets share a key.

    Raises:
        StoreError: A key cannot be part of a file name.
    """
    for clip_id in ids:
        check_name("key", clip_id.partition("/")[2], "the manifest")
        check_name("dataset", clip_id.partition("/")[0], "the manifest")
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
    """Yield (suffix, content): the query's row as json, then the features in their order."""
    about = {**_json_of(clip.values.get("json")), **clip.row}
    yield "json", json.dumps(about, default=_plain, sort_keys=True).encode()
    for name in _TEXT_MEMBERS:
        if clip.row.get(name) is not None:
            yield name, str(clip.row[name]).encode()
    for name, value in clip.values.items():
        if name == "frames":
            for number, frame in enumerate(value):
                yield f"f{number:03d}.jpg", frame
        elif current_name(name) == "waveform":
            yield ("flac" if value[:4] == b"fLaC" else "wav"), value
        elif name == "video":
            yield "mp4", value
        elif name != "json":
            yield f"{name}.npy", _npy(value)


def _json_of(content: bytes | None) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(content) if content else {}
    return value


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _write_webdataset(folder: _OutputFolder, number: int, clips: list[_Clip]) -> None:
    def fill(file: BinaryIO) -> None:
        tar = ShardTar(file)
        for clip in clips:
            for suffix, content in _members(clip):
                tar.add(f"{clip.key}.{suffix}", content)
        tar.close()

    folder.write(f"{number:06d}.tar", fill)


def _write_folder(folder: _OutputFolder, number: int, clips: list[_Clip]) -> None:
    for clip in clips:
        for suffix, content in _members(clip):
            folder.write(f"{clip.key}/{suffix}", lambda file, data=content: file.write(data))  # type: ignore[misc]


def _write_parquet(folder: _OutputFolder, number: int, clips: list[_Clip]) -> None:
    """Write frames as lists of JPEG bytes, video and sound as bytes, arrays flat with shapes."""
    columns: dict[str, Any] = {"key": [clip.key for clip in clips]}
    rows = pa.Table.from_pylist([clip.row for clip in clips])
    for name in clips[0].values:
        values = [clip.values[name] for clip in clips]
        if current_name(name) in BASE_FEATURES and name != "fbank":
            columns[name] = values
            continue
        columns[name] = [np.asarray(value).ravel() for value in values]
        columns[f"{name}_shape"] = [list(np.asarray(value).shape) for value in values]
    table = pa.table(columns)
    for name in rows.column_names:
        table = table.append_column(name if name not in columns else f"row_{name}", rows[name])
    folder.write(f"{number:06d}.parquet", lambda file: file.write(parquet_bytes(table)))


def _write_facts(
    store: OpenStore,
    folder: _OutputFolder,
    sql: str,
    features: Sequence[str],
    output: ExportFormat,
    result: ExportResult,
) -> None:
    facts = {
        "sql": sql,
        "features": list(features),
        "format": output,
        "clips": result.clips,
        "skipped": result.skipped,
        "datasets": store.query("SELECT name, version, annotation_sha256 FROM datasets").rows(),
        "recipes": store.query("SELECT DISTINCT recipe, fingerprint FROM shards").rows(),
        "derived": store.query("SELECT * FROM features").rows(),
    }
    content = json.dumps(facts, indent=1, default=_plain).encode()
    folder.write("export.json", lambda file: file.write(content))  # type: ignore[arg-type,return-value]
