"""Open the manifest: read-only for everybody, for writing in the one driver process.

The writer works on its own copy and publishes it by rename, so a reader never meets a lock nor
half a shard, and a killed writer leaves the last published state.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb

from manifests.store import Store, StoreError, sync_folder

SCHEMA_VERSION = 1


def _sql(name: str) -> str:
    return files("manifests").joinpath(name).read_text()


def create(con: duckdb.DuckDBPyConnection) -> None:
    """Create tables and views that are not there yet."""
    con.execute(_sql("schema.sql"))
    if con.execute("SELECT count(*) FROM meta").fetchone() == (0,):
        con.execute("INSERT INTO meta VALUES (?)", [SCHEMA_VERSION])
    con.execute(_sql("views.sql"))


def open_read(store: Store) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the published manifest. Raises StoreError where there is none."""
    if not store.manifest.is_file():
        raise StoreError(
            f"no manifest at {store.manifest}; build one (make vggsound-shards), or rebuild it "
            f"from the shards (avstore index --store {store.root})"
        )
    try:
        return duckdb.connect(str(store.manifest), read_only=True)
    except duckdb.Error as error:
        raise StoreError(
            f"{store.manifest} cannot be opened ({str(error).splitlines()[0]}); delete it and run "
            f"avstore index --store {store.root}"
        ) from error


class Writer:
    """The driver's connection to its working copy, and how that becomes the manifest.

    `con`: the open connection. Publishing takes at most a twentieth of the run's time.
    """

    def __init__(self, store: Store, con: duckdb.DuckDBPyConnection) -> None:
        self.store = store
        self.con = con
        self._cost_s = 0.0
        self._published = 0.0

    def publish(self, force: bool = True) -> None:
        """Make the current state what readers see. Unforced: skipped while still cheap to wait."""
        began = time.monotonic()
        if not force and began - self._published < 20 * self._cost_s:
            return
        self.con.execute("CHECKPOINT")
        temp = self.store.root / f".manifest.{os.getpid()}.tmp"
        shutil.copyfile(self.store.work, temp)
        with temp.open("rb+") as file:
            os.fsync(file.fileno())
        temp.replace(self.store.manifest)
        sync_folder(self.store.root)
        self._published = time.monotonic()
        self._cost_s = self._published - began


def _drop_working_copy(store: Store) -> None:
    for path in (store.work, Path(f"{store.work}.wal")):
        path.unlink(missing_ok=True)


@contextmanager
def open_write(store: Store, fresh: bool = False) -> Iterator[Writer]:
    """The writer, on a copy of the published manifest (fresh: on an empty one).

    The store's lock must be held. What was not published when the block ends by an error is
    dropped; the sidecars and the ledger still hold it.
    """
    _drop_working_copy(store)
    if store.manifest.is_file() and not fresh:
        shutil.copyfile(store.manifest, store.work)
    try:
        con = duckdb.connect(str(store.work))
    except duckdb.Error as error:
        _drop_working_copy(store)
        raise StoreError(
            f"{store.manifest} cannot be opened ({str(error).splitlines()[0]}); delete it and run "
            f"avstore index --store {store.root}"
        ) from error
    try:
        create(con)
        yield Writer(store, con)
    finally:
        con.close()
        _drop_working_copy(store)
