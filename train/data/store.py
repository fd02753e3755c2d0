"""A store opened for reading: its manifest answers SQL, its shards are read by byte range."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests import mirror as remote
from avstore.manifests.catalogue import open_read
from avstore.manifests.lock import StoreBusyError
from avstore.manifests.store import Store as StorePaths
from avstore.manifests.store import StoreError, find_store

# How long a reader waits for a manifest that somebody else holds open for writing.
LOCK_WAIT_S = 30.0


@dataclass(frozen=True)
class Store:
    """A store for reading. url: where the shards lie, a local folder or an fsspec URL.

    paths: the local manifest (a mirror, where the store is elsewhere). options: for fsspec.
    cache: folder and limit in bytes of what is kept here of remote shards.
    """

    paths: StorePaths
    url: str
    options: tuple[tuple[str, Any], ...] = ()
    cache: tuple[str, int] | None = None

    @property
    def root(self) -> Path:
        """Local folder of the manifest; of the shards too, unless the store is elsewhere."""
        return self.paths.root

    @property
    def manifest(self) -> Path:
        return self.paths.manifest

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection; waits while another process holds the file for writing."""
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                return open_read(self.paths)
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def query(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The rows of a query over the manifest. Raises StoreError, with what DuckDB says."""
        with self.connect() as con:
            try:
                return con.sql(sql, params=list(params)).to_arrow_table()
            except duckdb.Error as error:
                raise StoreError(f"the query failed: {error}") from error


def open_store(
    path: Path | str, cache: Path | None = None, cache_bytes: int = 0, **options: Any
) -> Store:
    """The store at `path`: STORE itself, STORE/shards or below, or an fsspec URL (s3://…).

    Of a URL only: cache, where its manifest is mirrored (AVSTORE_CACHE, ~/.cache/avstore);
    cache_bytes, how much of the shards' content is kept there too (0: none); options, what fsspec
    needs.
    Raises StoreError where there is none.
    """
    if not isinstance(cache_bytes, Integral):
        raise ValueError(f"cache_bytes is a whole number of bytes, not {cache_bytes!r}")
    if "://" in str(path):
        local, _, _ = remote.mirror(str(path), cache, **options)
        folder = str(cache or remote.cache_directory())
        kept = (folder, cache_bytes) if cache_bytes > 0 else None
        return Store(local, str(path).rstrip("/"), tuple(sorted(options.items())), kept)
    if not Path(path).exists():
        raise StoreError(f"{path} does not exist; build shards first (make vggsound-shards)")
    paths = find_store(Path(path))
    return Store(paths, str(paths.root))
