"""The store as a Python library: ask it with SQL, read samples and features by clip.

store = open_store("data")            # or s3://bucket/store, memory://store, /net/nfs/store
store.query("SELECT label, count(*) FROM clips, unnest(labels) AS u(label) GROUP BY ALL").df()
store.sample("vggsound/---g-f_I2yQ_000001").members["flac"]
store.read("fbank", clip_ids)         # {clip_id: array}
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import numpy as np
import pyarrow as pa

from avstore.manifests import mirror as remote
from avstore.manifests import snapshots
from avstore.manifests.catalogue import open_read
from avstore.manifests.ranges import Range, read_ranges
from avstore.manifests.store import Store, StoreError, find_store

BASE_FEATURES = ("frames", "audio", "fbank", "json")


@dataclass(frozen=True)
class Answer:
    """The rows of a query, as an Arrow table and as what people make of one."""

    table: pa.Table

    def arrow(self) -> pa.Table:
        return self.table

    def df(self) -> Any:
        """As a pandas data frame."""
        return self.table.to_pandas()

    def pl(self) -> Any:
        """As a polars data frame. Raises StoreError where polars is not installed."""
        try:
            import polars  # noqa: PLC0415 -- optional
        except ImportError as error:
            raise StoreError("polars is not installed: pip install polars") from error
        return polars.from_arrow(self.table)

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found


@dataclass(frozen=True)
class Sample:
    """A stored clip. members: suffix ('fbank.npy', 'flac', 'f000.jpg', …) to content."""

    clip_id: str
    key: str
    fingerprint: str
    labels: tuple[str, ...]
    split: str
    members: Mapping[str, bytes]


class OpenStore:
    """A store that was opened for reading; make it with `open_store`. A context manager."""

    def __init__(self, con: duckdb.DuckDBPyConnection, fs: Any, root: str) -> None:
        self._con = con
        self._fs = fs
        self._root = root

    def __enter__(self) -> "OpenStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._con.close()

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Answer:
        """The rows of a query over the manifest. Raises StoreError, with what DuckDB says."""
        try:
            found = self._con.cursor().sql(sql, params=parameters or None)
            return Answer(pa.table({}) if found is None else found.to_arrow_table())
        except duckdb.Error as error:
            raise StoreError(f"the query failed: {error}") from error

    def sample(self, clip_id: str, recipe: str | None = None) -> Sample:
        """All members of a clip, checked against their checksum.

        recipe: name or stage (<recipe>-<fp8>), needed where several have the clip.
        Raises StoreError where it is not stored, with its status.
        """
        row = self._base([clip_id], recipe)[clip_id]
        wanted = _ranges(row, row["members"].split(" "))
        contents = dict(read_ranges(self._fs, self._root, list(wanted.values())))
        members = {suffix: contents[at] for suffix, at in wanted.items()}
        crc = 0
        for content in members.values():
            crc = zlib.crc32(content, crc)
        if crc != row["crc32"]:
            raise StoreError(f"{clip_id} in {row['shard']} is damaged: its CRC-32 differs")
        about = "SELECT key, labels, split FROM clips WHERE clip_id = ?"
        facts = self.query(about, [clip_id]).rows()[0]
        return Sample(
            clip_id,
            facts["key"],
            row["fingerprint"],
            tuple(facts["labels"] or ()),
            facts["split"],
            members,
        )

    def read(
        self, feature: str, clip_ids: Sequence[str], recipe: str | None = None
    ) -> dict[str, Any]:
        """A feature of these clips, in their order, by few and long range reads.

        feature: 'fbank' (float16 array, frames x mels), 'frames' (list of JPEG bytes), 'audio'
        (FLAC bytes), 'json' (bytes), or a derived feature's name, or <name>-<fp8> where the store
        has it twice (an array of the shape its extractor gives).
        Raises StoreError where a clip has no such feature.
        """
        ids = list(dict.fromkeys(clip_ids))
        if feature in BASE_FEATURES:
            return self._read_base(feature, ids, recipe)
        return self._read_derived(feature, ids)

    def _read_base(self, feature: str, ids: list[str], recipe: str | None) -> dict[str, Any]:
        rows = self._base(ids, recipe)
        wanted = {i: list(_ranges(rows[i], _members(feature, rows[i])).values()) for i in ids}
        contents = self._contents([at for ranges in wanted.values() for at in ranges])
        if feature == "frames":
            return {i: [contents[at] for at in wanted[i]] for i in ids}
        for clip_id in ids:
            if not wanted[clip_id]:
                raise StoreError(f"{clip_id} in {rows[clip_id]['shard']} has no {feature}")
        decode = _array if feature == "fbank" else bytes
        return {i: decode(contents[wanted[i][0]]) for i in ids}

    def _read_derived(self, feature: str, ids: list[str]) -> dict[str, Any]:
        rows = self._derived(feature, ids)
        wanted = {i: Range(rows[i]["shard"], rows[i]["offset"], rows[i]["size"]) for i in ids}
        contents = self._contents(list(wanted.values()))
        for clip_id in ids:
            if zlib.crc32(contents[wanted[clip_id]]) != rows[clip_id]["crc32"]:
                raise StoreError(f"{feature} of {clip_id} is damaged: its CRC-32 differs")
        return {i: _array(contents[wanted[i]]) for i in ids}

    def _contents(self, ranges: list[Range]) -> dict[Range, bytes]:
        return dict(read_ranges(self._fs, self._root, ranges))

    def _base(self, ids: list[str], recipe: str | None) -> dict[str, dict[str, Any]]:
        """The rows of `samples` of these clips. Raises StoreError where one is missing."""
        found = self.query(
            """
            SELECT s.clip_id, s.shard, s.fingerprint, s.members, s.offsets, s.sizes, s.crc32
            FROM samples s JOIN shards h ON h.path = s.shard
            WHERE s.clip_id IN (SELECT unnest($ids)) AND ($recipe IS NULL OR h.recipe = $recipe
                  OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)
            """,
            {"ids": ids, "recipe": recipe},
        ).rows()
        return self._one_each(ids, found, "sample", "name one with recipe=")

    def _derived(self, feature: str, ids: list[str]) -> dict[str, dict[str, Any]]:
        found = self.query(
            """
            SELECT clip_id, shard, fingerprint, "offset", size, crc32 FROM feature_samples
            WHERE clip_id IN (SELECT unnest($ids))
              AND $feature IN (feature, feature || '-' || left(fingerprint, 8))
            """,
            {"ids": ids, "feature": feature},
        ).rows()
        known = self.query("SELECT DISTINCT feature FROM feature_samples ORDER BY ALL").rows()
        if ids and not found and feature not in {row["feature"] for row in known}:
            names = ", ".join([*BASE_FEATURES, *(row["feature"] for row in known)])
            raise StoreError(f"the store has no feature {feature!r}; it has {names}")
        return self._one_each(ids, found, feature, f"name one as {feature}-<first 8 of it>")

    def _one_each(
        self, ids: list[str], found: list[dict[str, Any]], what: str, hint: str
    ) -> dict[str, dict[str, Any]]:
        rows = {row["clip_id"]: row for row in found}
        if missing := [clip_id for clip_id in ids if clip_id not in rows]:
            said = self.query(
                "SELECT stage, status, verdict FROM status WHERE clip_id = ?", [missing[0]]
            ).rows()
            where = "; ".join(f"{r['stage']}: {r['status']} {r['verdict'] or ''}" for r in said)
            raise StoreError(
                f"{len(missing)} of {len(ids)} clips have no {what}, for one {missing[0]} "
                f"({where.strip() or 'not published in this store'})"
            )
        if len(found) != len(rows):
            prints = sorted({row["fingerprint"][:8] for row in found})
            raise StoreError(f"the store has {what} more than once ({', '.join(prints)}); {hint}")
        return rows


def _ranges(row: Mapping[str, Any], suffixes: Sequence[str]) -> dict[str, Range]:
    where = zip(row["members"].split(" "), row["offsets"], row["sizes"], strict=True)
    places = {suffix: Range(row["shard"], offset, size) for suffix, offset, size in where}
    return {suffix: places[suffix] for suffix in suffixes}


def _members(feature: str, row: Mapping[str, Any]) -> list[str]:
    ends = {
        "frames": (".jpg",),
        "audio": ("flac", "wav"),
        "fbank": ("fbank.npy",),
        "json": ("json",),
    }
    return [name for name in row["members"].split(" ") if name.endswith(ends[feature])]


def _array(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False)


def open_store(
    url: str | Path, snapshot: str | None = None, cache: Path | None = None, **options: Any
) -> OpenStore:
    """Open a store for reading, while builds may go on: a folder, or any fsspec URL.

    snapshot: a named state instead of the present one. cache: where the manifest of a store
    elsewhere is kept (default: AVSTORE_CACHE, or ~/.cache/avstore). options: for fsspec (keys,
    endpoint_url). A local path is opened where it is; `file://` URLs go through the cache, which
    is what a store on a network file system wants. Raises StoreError where there is no store.
    """
    text = str(url)
    if "://" in text:
        if snapshot:
            return _remote_snapshot(text, snapshot, cache, options)
        local, fs, root = remote.mirror(text, cache, **options)
        return OpenStore(open_read(local), fs, root)
    store: Store = find_store(Path(text))
    fs = fsspec.filesystem("file")
    con = _open_snapshot(store, snapshot) if snapshot else open_read(store)
    return OpenStore(con, fs, str(store.root.resolve()))


def _open_snapshot(store: Store, name: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(snapshots.path_of(store, name)), read_only=True)


def _remote_snapshot(url: str, name: str, cache: Path | None, options: dict[str, Any]) -> OpenStore:
    local, fs, root = remote.mirror(url, cache, **options)
    local.snapshots.mkdir(exist_ok=True)
    for file in (f"{name}.duckdb", f"{name}.json"):
        target = local.snapshots / file
        if not target.is_file():
            try:
                fs.get_file(f"{root.rstrip('/')}/snapshots/{file}", str(target))
            except FileNotFoundError as error:
                target.unlink(missing_ok=True)
                raise StoreError(f"no snapshot {name!r} in {url}") from error
    return OpenStore(_open_snapshot(local, name), fs, root)
