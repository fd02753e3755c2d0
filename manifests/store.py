"""Where things lie in a store, and how files are committed to it."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


class StoreError(Exception):
    """A store that cannot be used as asked: what was wrong, where, and what to do."""


@dataclass(frozen=True)
class Store:
    """The paths of one store (DESIGN: store layout)."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.duckdb"

    @property
    def work(self) -> Path:
        """The writer's own copy of the manifest; `manifest` is what it publishes."""
        return self.root / ".manifest.work.duckdb"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    def raw(self, dataset: str) -> Path:
        return self.root / "raw" / dataset

    def shard(self, dataset: str, stage: str, split: str, number: int) -> str:
        """The shard's path relative to the store, the value of `shards.path`."""
        return f"shards/{dataset}/{stage}/{split}-{number:06d}.tar"

    def sidecars(self) -> list[Path]:
        """Sidecars of base shards, in path order (companion shards carry a second dot)."""
        found = self.shards.glob("*/*/*.parquet")
        return sorted(path for path in found if path.stem.count(".") == 0)

    def feature_sidecars(self) -> list[Path]:
        """Sidecars of companion shards (derived features), in path order."""
        found = self.shards.glob("*/*/*.parquet")
        return sorted(path for path in found if path.stem.count(".") > 0)


def sidecar_of(shard: str) -> str:
    """The sidecar's path relative to the store, from `shards.path`."""
    return shard.removesuffix(".tar") + ".parquet"


def shard_of(sidecar: Path) -> str:
    """The shard's path relative to the store, from its sidecar's."""
    return str(sidecar).removesuffix(".parquet") + ".tar"


def find_store(path: Path) -> Store:
    """The store at `path`, or the one it lies in (STORE/shards works too).

    Raises StoreError where there is no manifest at `path` or in a folder above it.
    """
    here = path.resolve()
    for folder in (here, *here.parents):
        if (folder / "manifest.duckdb").is_file():
            return Store(folder)
    raise StoreError(
        f"no manifest.duckdb in {path} or above it; build one first (make vggsound-shards), "
        "or rebuild it from the shards (avstore index --store STORE)"
    )


@contextmanager
def committing(path: Path, keep: Callable[[], bool] = lambda: True) -> Iterator[BinaryIO]:
    """Write `path` so that it appears whole or not at all: temp file, fsync, rename, fsync.

    keep: asked at the end; False leaves nothing behind.
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
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(store: Store) -> int:
    """Delete what a killed run left half written; how many. Only with the store's lock held."""
    stale = [path for path in store.root.rglob(".*.tmp") if path.is_file()]
    for path in stale:
        path.unlink()
    return len(stale)


def file_sha256(path: Path, read: Callable[[int], None] | None = None) -> str:
    """sha256 of a file, hex; `read` is told of each block's length, for progress."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if read:
                read(len(block))
    return digest.hexdigest()
