"""The store as a Python library: SQL over its manifest, samples and features by clip id.

from avstore.manifests import open_store

store = open_store("data")  # or s3://bucket/store, memory://store, file:///net/nfs/store
store.query("SELECT label, count(*) FROM clips, unnest(labels) AS u(label) GROUP BY ALL").df()
store.sample("vggsound/---g-f_I2yQ_000001").members["flac"]
store.read("fbank", clip_ids)  # {clip_id: array}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from avstore.manifests import commands, snapshots, stored_clips
from avstore.manifests.catalogue import open_guarded, open_read
from avstore.manifests.errors import query_error
from avstore.manifests.shard_reader import Reader, open_reader
from avstore.manifests.store import Store, StoreError, find_store
from avstore.manifests.stored_clips import StoredSample

# Seconds to wait for a manifest that another program holds open for writing.
LOCK_WAIT_S = 30.0


@dataclass(frozen=True)
class QueryResult:
    """Rows of a query.

    Attributes:
        table: The rows as an Arrow table.
    """

    table: pa.Table

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        return self.table

    def df(self) -> Any:
        """Return the rows as a pandas data frame."""
        return self.table.to_pandas()

    def pl(self) -> Any:
        """Return the rows as a polars data frame.

        Raises:
            StoreError: polars is not installed.
        """
        try:
            import polars  # noqa: PLC0415 -- optional
        except ImportError as error:
            raise StoreError("polars is not installed: pip install polars") from error
        return polars.from_arrow(self.table)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per row, keyed by column name."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found


class OpenStore:
    """A store opened for reading; create it with `open_store`.

    Each query sees the latest published manifest. As a context manager, it keeps one connection
    open, so that all queries in the block see the same state. It can be pickled; the copy opens
    its own connection.

    Attributes:
        paths: Paths of the local manifest; of the shards too, unless the store is remote.
        url: Root of the shards, a local folder or an fsspec URL.
        options: fsspec options of a remote store, as sorted (name, value) pairs.
        cache: Folder and size in bytes of the block cache for remote shards, or None.
        manifest: DuckDB file that is queried: the manifest or a snapshot.
        stage: Stage (<recipe>-<fp8>) whose folder was opened, or None: the recipe of samples where
            none is named.
        memory_bytes: Limit of the memory that DuckDB uses for the manifest, or None: DuckDB's own.
    """

    def __init__(
        self,
        paths: Store,
        url: str,
        options: tuple[tuple[str, Any], ...] = (),
        cache: tuple[str, int] | None = None,
        snapshot: str | None = None,
        stage: str | None = None,
    ) -> None:
        self.paths = paths
        self.url = url
        self.options = options
        self.cache = cache
        self.manifest = snapshots.snapshot_path(paths, snapshot) if snapshot else paths.manifest
        self.stage = stage
        self.memory_bytes: int | None = None
        self._con: duckdb.DuckDBPyConnection | None = None

    @property
    def root(self) -> Path:
        """Local folder of the manifest; of the shards too, unless the store is remote."""
        return self.paths.root

    @property
    def reader(self) -> Reader:
        """This process's reader of the shards."""
        return open_reader(self.url, dict(self.options), self.cache)

    def __repr__(self) -> str:
        """Return one line: where the store is, and which snapshot and recipe were opened."""
        snapshot = "" if self.manifest == self.paths.manifest else f", {self.manifest.stem}"
        return f"OpenStore({self.url!r}{snapshot}{f', {self.stage}' if self.stage else ''})"

    def __enter__(self) -> "OpenStore":
        self._con = self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_con": None}

    def close(self) -> None:
        """Close the connection of the `with` block."""
        if self._con is not None:
            self._con.close()
        self._con = None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a new read-only DuckDB connection, waiting while the file is locked.

        Its queries reach the manifest and Arrow tables that you register, no files and no network.

        Raises:
            StoreBusyError: Another program held the manifest for longer than 30 s.
            StoreError: The manifest is missing or cannot be read.
        """
        if self.manifest != self.paths.manifest:
            return open_guarded(self.manifest, self.memory_bytes)
        return open_read(self.paths, LOCK_WAIT_S, memory_bytes=self.memory_bytes)

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> QueryResult:
        """Run a SQL query over the manifest.

        Args:
            sql: One DuckDB statement.
            params: Values of its `?` placeholders, or of its `$name` placeholders.

        Raises:
            StoreError: The query failed; the message is DuckDB's.
        """
        try:
            with self._con.cursor() if self._con else self.connect() as con:
                found = con.sql(sql, params=params or None)
                return QueryResult(pa.table({}) if found is None else found.to_arrow_table())
        except duckdb.Error as error:
            raise query_error(error) from error

    def sample(self, clip_id: str, recipe: str | None = None) -> StoredSample:
        """Read all members of a clip and check their CRC-32.

        Args:
            clip_id: `<dataset>/<key>`.
            recipe: Name or stage (<recipe>-<fp8>), required if several recipes hold the clip.

        Raises:
            StoreError: The clip is not stored, or its shard is damaged.
        """
        return stored_clips.read_sample(self, clip_id, recipe or self.stage)

    def read(
        self, feature: str, clip_ids: Sequence[str], recipe: str | None = None
    ) -> dict[str, Any]:
        """Read one feature of many clips, by few and long range reads.

        Args:
            feature: `frames`, `video`, `waveform`, `fbank`, `json`, or a derived feature's name, or
                `<name>-<fp8>` if the store has several versions of it.
            clip_ids: Clips to read; duplicates are read once.
            recipe: Name or stage (<recipe>-<fp8>), required if several recipes hold the clips.

        Returns:
            The clips in the given order: float16 [frames, mels] for `fbank`, a list of JPEG bytes
            for `frames`, FLAC bytes for `waveform`, bytes for `json`, and an array of the
            extractor's shape and dtype for a derived feature.

        Raises:
            StoreError: A clip lacks the feature, or its shard is damaged.
        """
        ids = list(dict.fromkeys(clip_ids))
        return stored_clips.read_feature(self, feature, ids, recipe or self.stage)

    def pictures(
        self, clip_id: str, first: int, count: int, recipe: str | None = None
    ) -> NDArray[np.uint8]:
        """Read pictures of a clip's stored video, by one range read.

        Args:
            clip_id: `<dataset>/<key>`.
            first: Number of the first picture, from 0; it is shown at first / video_rate seconds.
            count: Number of pictures.
            recipe: Name or stage (<recipe>-<fp8>), required if several recipes hold a video of it.

        Returns:
            uint8 [count, height, width, 3], RGB.

        Raises:
            StoreError: The clip has no video or fewer pictures, or its shard is damaged.
        """
        from avstore.manifests.stored_video import read_pictures  # noqa: PLC0415 -- loads decoders

        return read_pictures(self, clip_id, first, count, recipe or self.stage)


def open_store(
    path: str | Path,
    *,
    snapshot: str | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = 0,
    **options: Any,
) -> OpenStore:
    """Open a store for reading; builds may write to it at the same time.

    A local path is read in place. Of a URL, the manifest is mirrored into the cache folder; use a
    `file://` URL for a store on a network file system, which DuckDB cannot open safely.

    Args:
        path: The store's folder or a folder inside it, or an fsspec URL (`s3://bucket/store`). The
            folder of a stage (`STORE/shards/DATASET/RECIPE-FP8`) chooses that recipe.
        snapshot: Named snapshot to open instead of the current manifest.
        cache: Cache folder of a remote store. Default: `AVSTORE_CACHE` or ~/.cache/avstore.
        cache_bytes: Size limit in bytes of a remote store's shard cache. Default: 0, no cache.
        options: fsspec options of a remote store, such as `endpoint_url`.

    Returns:
        The opened store, which is also a context manager.

    Raises:
        StoreError: There is no store at `path`, or it has no such snapshot.
        ValueError: `cache_bytes` is not a whole number.
    """
    if not isinstance(cache_bytes, Integral):
        raise ValueError(f"cache_bytes is a whole number of bytes, not {cache_bytes!r}")
    if "://" in str(path):
        return _open_remote(str(path), snapshot, cache, cache_bytes, options)
    if not Path(path).exists():
        raise StoreError(f"{path} does not exist; {commands.make_store(path)}")
    paths = find_store(Path(path))
    stage = _stage_of(Path(path).resolve(), paths)
    return OpenStore(paths, str(paths.root), snapshot=snapshot, stage=stage)


def _stage_of(path: Path, paths: Store) -> str | None:
    """Return the stage whose folder `path` is or is in, if it is in one."""
    if not path.is_relative_to(paths.shards):
        return None
    below = path.relative_to(paths.shards).parts
    return below[1] if len(below) > 1 else None


def _open_remote(
    url: str,
    snapshot: str | None,
    cache: str | Path | None,
    cache_bytes: int,
    options: dict[str, Any],
) -> OpenStore:
    from avstore.manifests import mirror  # noqa: PLC0415 -- local stores do not need the writer

    folder = Path(cache or mirror.cache_directory())
    local, fs, root = mirror.mirror_store(url, folder, **options)
    if snapshot:
        mirror.fetch_snapshot(fs, root, local, snapshot)
    blocks = (str(folder), cache_bytes) if cache_bytes > 0 else None
    return OpenStore(local, url.rstrip("/"), tuple(sorted(options.items())), blocks, snapshot)
