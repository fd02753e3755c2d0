"""Paths of a store, and how files are committed to it."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from avstore.manifests import commands
from avstore.manifests.path_text import valid_text

FOLLOW_LINKS = "AVSTORE_FOLLOW_LINKS"
"""Environment variable; 1 lets commands follow links that lead out of a store."""


class StoreError(Exception):
    """A request that a store cannot serve: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Store:
    """Paths of one store (docs/architecture.md, "Store").

    Attributes:
        root: The store's folder.
    """

    root: Path

    def __post_init__(self) -> None:
        """Refuse a folder that DuckDB cannot open."""
        path = os.path.abspath(self.root)
        if valid_text(path) != path:
            raise StoreError(
                f"a store cannot be in {valid_text(path)}: the path is not UTF-8, which DuckDB "
                "needs; choose another folder (STORE=DIR, or --store DIR)"
            )

    @property
    def manifest(self) -> Path:
        """DuckDB file that readers open."""
        return self.root / "manifest.duckdb"

    @property
    def work(self) -> Path:
        """The writer's working copy of the manifest, which it publishes as `manifest`."""
        return self.root / ".manifest.work.duckdb"

    @property
    def lock(self) -> Path:
        """Lock file that the one writer holds."""
        return self.root / ".lock"

    @property
    def progress(self) -> Path:
        """How far the latest build came, which it publishes while it runs."""
        return self.root / ".progress.json"

    @property
    def shards(self) -> Path:
        """Folder of shards and their sidecars."""
        return self.root / "shards"

    @property
    def ledger(self) -> Path:
        """Folder of append-only Parquet files."""
        return self.root / "ledger"

    @property
    def reports(self) -> Path:
        """Folder of HTML reports."""
        return self.root / "reports"

    @property
    def snapshots(self) -> Path:
        """Folder of named snapshots of the manifest."""
        return self.root / "snapshots"

    def raw(self, dataset: str) -> Path:
        """Return the folder of a dataset's fetched media."""
        return self.root / "raw" / dataset

    def shard(self, dataset: str, stage: str, split: str, number: int) -> str:
        """Return a shard's path relative to the store, the value of `shards.path`."""
        return f"shards/{dataset}/{stage}/{split}-{number:06d}.tar"

    def linked_folders(self) -> list[Path]:
        """Return the store's folders that are links and lead out of it.

        Commands that check or change a store do not follow them, as the store may be of others.
        """
        own = (self.shards, self.ledger, self.reports, self.snapshots, self.root / "raw")
        folders = [*own, self.root / "damaged", *self.ledger.glob("annotations/*")]
        folders += [*self.root.glob("raw/*"), self.ledger / "annotations"]
        folders += [*self.shards.glob("*"), *self.shards.glob("*/*")]
        return sorted(path for path in folders if path.is_symlink() and self.leads_out(path))

    def leads_out(self, path: Path) -> bool:
        """Return whether a link leads from a path in the store to a file outside of it."""
        if os.environ.get(FOLLOW_LINKS) == "1":
            return False
        return not path.resolve().is_relative_to(self.root.resolve())

    def sidecars(self) -> list[Path]:
        """Return the sidecars of base shards in path order (companions have a second dot)."""
        found = self.shards.glob("*/*/*.parquet")
        return sorted(path for path in found if path.stem.count(".") == 0)

    def feature_sidecars(self) -> list[Path]:
        """Return the sidecars of companion shards (derived features) in path order."""
        found = self.shards.glob("*/*/*.parquet")
        return sorted(path for path in found if path.stem.count(".") > 0)


def refuse_links(store: Store) -> None:
    """Raise StoreError if a folder of the store is a link that leads out of it."""
    for path in store.linked_folders()[:1]:
        raise StoreError(
            f"{path} is a link that leads out of the store; set {FOLLOW_LINKS}=1 if you made it"
        )


def sidecar_of(shard: str) -> str:
    """Return the path of a shard's sidecar."""
    return shard.removesuffix(".tar") + ".parquet"


def shard_of(sidecar: Path) -> str:
    """Return the path of the shard that a sidecar describes."""
    return str(sidecar).removesuffix(".parquet") + ".tar"


def find_store(path: Path) -> Store:
    """Return the store at `path` or above it (STORE/shards works too).

    Raises:
        StoreBusyError: There is no manifest yet, and a process is writing to the store.
        StoreError: Neither `path` nor a folder above it holds a manifest.
    """
    from avstore.manifests.lock import (  # noqa: PLC0415 -- it imports this module
        StoreBusyError,
        current_writer,
    )

    here = path.resolve()
    for folder in (here, *here.parents):
        if (folder / "manifest.duckdb").is_file():
            return Store(folder)
        if writer := current_writer(Store(folder)):
            raise StoreBusyError(
                f"{folder} has no manifest yet: it is being written by {writer}; try again in a "
                "moment"
            )
    raise StoreError(f"no manifest.duckdb in {path} or above it; {commands.make_store(path)}")


@contextmanager
def committing(path: Path, keep: Callable[[], bool] = lambda: True) -> Iterator[BinaryIO]:
    """Write `path` so that it appears whole or not at all: temporary file, fsync, rename, fsync.

    Args:
        path: File to write; an existing one is replaced.
        keep: Called at the end; False discards what was written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temp.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep():
            temp.replace(path)
            sync_folder(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file so that it appears whole or not at all; return its path."""
    with committing(path) as file:
        file.write(text.encode())
    return path


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(store: Store) -> int:
    """Delete temporary files of killed runs; return their number. The lock must be held."""
    stale = [path for path in store.root.rglob(".*.tmp") if path.is_file()]
    for path in stale:
        path.unlink()
    return len(stale)


def remove(path: Path) -> None:
    """Delete a file, or a folder in its place; nothing if there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path, read: Callable[[int], None] | None = None) -> str:
    """Return a file's sha256 as hex digits.

    Args:
        path: File to read.
        read: Called with the number of bytes of each block, for progress.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if read:
                read(len(block))
    return digest.hexdigest()
