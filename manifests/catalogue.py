"""Open the manifest: read-only, or for writing in the one driver process.

The writer works on a copy and publishes it by rename. Readers therefore never see a lock or half a
shard, and a killed writer leaves the last published state.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from avstore.manifests import commands, schema
from avstore.manifests.columns import skip_pandas_import
from avstore.manifests.lock import StoreBusyError, current_writer, writing
from avstore.manifests.manifest_hash import (
    copy_and_hash,
    foreign_logs,
    record_hash,
    refuse_foreign_logs,
    require_sound,
    sound_hash,
)
from avstore.manifests.store import Store, StoreError, remove, sync_folder

# The writer needs no more than 2.5 GB for any store, and gets at most half of a small machine.
_MEMORY_BYTES = 5 << 29


# A connection that answers queries reads its open database, nothing else. Without external access
# DuckDB still writes to the paths of the database itself: no file of this machine is opened at all.
_GUARDS = (
    "SET enable_external_access = false",
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET lock_configuration = true",  # last: nothing can be set after it
)
_guarding = threading.Lock()


def _set_up(con: duckdb.DuckDBPyConnection) -> None:
    """Set what every connection has in common."""
    # The manifest's times are UTC without a zone. now() and current_date compare with them as UTC.
    con.execute("SET TimeZone = 'UTC'")
    # In Jupyter without ipywidgets there is no bar, and DuckDB 2.0 refuses to set it even to false.
    if con.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
        con.execute("SET enable_progress_bar = false")


def guard(
    con: duckdb.DuckDBPyConnection, memory_bytes: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Close off files, network and extensions from a connection for good; return it.

    The settings belong to the open database: connections of this process to the same file share
    them.

    Args:
        con: The connection.
        memory_bytes: Limit of the memory that the database uses. Default: DuckDB's.
    """
    with _guarding:
        if con.execute("SELECT current_setting('lock_configuration')").fetchall() != [(True,)]:
            _set_up(con)
            if memory_bytes is not None:
                con.execute("SET memory_limit = ?", [f"{memory_bytes}B"])
            for setting in _GUARDS:
                con.execute(setting)
    return con


def open_guarded(path: Path, memory_bytes: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open a manifest or snapshot read-only, without access to anything outside it.

    Args:
        path: The DuckDB file.
        memory_bytes: Limit of the memory that the database uses. Default: DuckDB's.

    Raises:
        StoreError: Another program left changes beside it, which DuckDB would apply.
    """
    refuse_foreign_logs(path)
    return guard(duckdb.connect(str(path), read_only=True), memory_bytes)


def open_read(
    store: Store, wait_s: float = 0.0, *, unsafe: bool = False, memory_bytes: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a read-only connection to the published manifest.

    Its queries and the manifest's views cannot read or write files, use the network, load
    extensions or change settings.

    Args:
        store: The store's paths.
        wait_s: Seconds to wait while another program holds the file open for writing.
        unsafe: Allow all of that, for a query and a manifest that you trust.
        memory_bytes: Limit of the memory that the database uses. Default: DuckDB's.

    Raises:
        StoreBusyError: Another program still holds the file after `wait_s`.
        StoreError: There is no manifest, or it cannot be opened.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _open_read(store, unsafe, memory_bytes)
        except StoreBusyError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def _open_read(store: Store, unsafe: bool, memory_bytes: int | None) -> duckdb.DuckDBPyConnection:
    if not store.manifest.is_file():
        if holder := current_writer(store):
            raise StoreBusyError(
                f"no manifest at {store.manifest} yet: the store is being written by {holder}; "
                "try again in a moment"
            )
        raise StoreError(f"no manifest at {store.manifest}; {commands.make_store(store.root)}")
    con = _connect(store, store.manifest, True, unsafe, memory_bytes)
    if schema.schema_version(con) == schema.SCHEMA_VERSION:
        return con
    con.close()
    with writing(store, wait_s=60), open_write(store) as writer:  # migrate an older manifest
        writer.publish()
    return _connect(store, store.manifest, True, unsafe, memory_bytes)


@contextmanager
def reading(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published manifest as `open_read` does, for queries of avstore's own.

    Raises:
        StoreError: It cannot be read; the message says how to rebuild it.
    """
    try:
        with open_read(store) as con:
            yield con
    except duckdb.Error as error:
        raise _unreadable(store, error) from error


def _unreadable(store: Store, error: duckdb.Error) -> StoreError:
    return StoreError(
        f"{store.manifest} cannot be read ({str(error).splitlines()[0]}); rebuild it; run: "
        f"{commands.avstore('index', store=store.root)}"
    )


def _connect(
    store: Store, path: Path, read_only: bool, unsafe: bool, memory_bytes: int | None = None
) -> duckdb.DuckDBPyConnection:
    try:
        if not unsafe:
            return open_guarded(path, memory_bytes)
        refuse_foreign_logs(path)
        con = duckdb.connect(str(path), read_only=read_only)
        _set_up(con)
        return con
    except duckdb.Error as error:
        message = str(error).splitlines()[0]
        if "Could not set lock" in message:
            raise StoreBusyError(
                f"{store.manifest} is open for writing in another program ({message}); "
                "close it there"
            ) from error
        raise _unreadable(store, error) from error


class Writer:
    """The driver's connection to its working copy of the manifest.

    Attributes:
        store: The store's paths.
        con: The open connection.
    """

    def __init__(
        self, store: Store, con: duckdb.DuckDBPyConnection, digest: str | None = None
    ) -> None:
        self.store = store
        self.con = con
        self._digest = digest
        self._cost_s = 0.0
        self._published = 0.0

    def publish(self, force: bool = True) -> None:
        """Make the current state visible to readers.

        Args:
            force: False skips it until 20 times the last publication's duration has passed, so
                that publishing takes at most a twentieth of the run's time.
        """
        began = time.monotonic()
        if not force and began - self._published < 20 * self._cost_s:
            return
        self.con.execute("CHECKPOINT")
        temp = self.store.root / f".manifest.{os.getpid()}.tmp"
        temp.unlink(missing_ok=True)  # it may be a link to another file
        digest = copy_and_hash(self.store.work, temp)
        with temp.open("rb+") as file:
            os.fsync(file.fileno())
        previous = self._digest or sound_hash(self.store)
        record_hash(self.store, digest, *([previous] if previous else []))
        temp.replace(self.store.manifest)
        self._digest = digest
        sync_folder(self.store.root)
        self._published = time.monotonic()
        self._cost_s = self._published - began


def _drop_working_copy(store: Store) -> None:
    for path in (store.work, *foreign_logs(store.work)):
        remove(path)
    shutil.rmtree(f"{store.work}.tmp", ignore_errors=True)


@contextmanager
def open_write(store: Store, fresh: bool = False) -> Iterator[Writer]:
    """Open a working copy of the manifest for writing. The store's lock must be held.

    Changes that were not published when the block ends are dropped; sidecars and ledger still hold
    them.

    Args:
        store: The store's paths.
        fresh: Start from an empty manifest instead of the published one.

    Raises:
        StoreError: The published manifest is damaged, or cannot be opened.
    """
    skip_pandas_import()
    _drop_working_copy(store)
    digest = None
    try:
        if store.manifest.is_file() and not fresh:
            digest = require_sound(store, copy_and_hash(store.manifest, store.work))
        con = _connect(store, store.work, read_only=False, unsafe=True)
    except StoreError:
        _drop_working_copy(store)
        raise
    try:
        configure(con)
        schema.create_schema(con)
        yield Writer(store, con, digest)
    finally:
        con.close()
        _drop_working_copy(store)


def configure(con: duckdb.DuckDBPyConnection) -> None:
    """Limit the memory; checkpoint only to publish, as a killed run's copy is dropped."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    con.execute("SET memory_limit = ?", [f"{min(_MEMORY_BYTES, memory // 2)}B"])
    con.execute("SET checkpoint_threshold = '1GB'")
