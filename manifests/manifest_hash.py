"""Record the sha256 of the published manifest in `manifest.duckdb.sha256`, as `sha256sum` does.

The file is committed before the manifest is renamed, and names the new and the previous state, so
that a kill at any instant leaves a pair that agrees. A seal in its last line protects it as well.
"""

import fcntl
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avstore.manifests import commands
from avstore.manifests.sealed import read_bytes, seal_comment
from avstore.manifests.store import Store, StoreError, committing, file_sha256

_TRIES = 3  # for a reader, while a writer publishes


_LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")


def foreign_logs(database: Path) -> list[Path]:
    """Return the write-ahead logs beside a manifest or snapshot.

    avstore leaves none there. DuckDB applies one when it opens the database, whose own bytes and
    hash stay the same.
    """
    logs = (database.with_name(database.name + suffix) for suffix in _LOGS)
    return [path for path in logs if os.path.lexists(path)]


def refuse_foreign_logs(database: Path) -> None:
    """Raise StoreError if there is a write-ahead log beside a manifest or snapshot."""
    for log in foreign_logs(database):
        place = next(x for x in database.absolute().parents if x.name != "snapshots")
        raise StoreError(
            f"{log} holds changes that another program made to {database.name}; close that "
            f"program; to set the changes aside, run: {commands.avstore('index', store=place)}"
        )


def _path(store: Store) -> Path:
    return store.manifest.with_name(store.manifest.name + ".sha256")


def record_hash(store: Store, *digests: str) -> None:
    """Commit the hashes that the manifest may have: the new one first, then the previous one."""
    lines = "".join(f"{digest}  {store.manifest.name}\n" for digest in digests)
    with committing(_path(store)) as file:
        file.write(seal_comment(lines))


def recorded_hashes(store: Store) -> list[str] | None:
    """Return the hashes that the manifest may have; None if none are recorded (older stores).

    Raises:
        DamagedFileError: The record differs from its seal.
    """
    if not _path(store).is_file():
        return None
    content, _ = read_bytes(_path(store))
    lines = content.decode(errors="replace").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def require_sound(store: Store, digest: str) -> str:
    """Return the manifest's hash if it is a recorded one.

    Raises:
        StoreError: The manifest was damaged, or changed by another program.
    """
    known = recorded_hashes(store)
    if known is None or digest in known:
        return digest
    raise StoreError(
        f"{store.manifest} {_difference(digest, known)}; it was damaged, or changed by another "
        f"program; run: {commands.avstore('index', store=store.root)}"
    )


def _difference(digest: str, known: list[str]) -> str:
    expected = known[0][:12] if known else "nothing"
    return f"has sha256 {digest[:12]}…, manifest.duckdb.sha256 says {expected}…"


def sound_hash(store: Store) -> str | None:
    """Return the hash of the manifest if there is a sound one. The lock must be held."""
    if not store.manifest.is_file():
        return None
    try:
        return require_sound(store, file_sha256(store.manifest))
    except StoreError:
        return None


def find_manifest_damage(store: Store) -> str | None:
    """Return how the manifest differs from its recorded hash; a writer may publish meanwhile.

    Raises:
        DamagedFileError: The record of the hash differs from its seal.
    """
    for _ in range(_TRIES):
        before = store.manifest.stat()
        digest, known = file_sha256(store.manifest), recorded_hashes(store)
        if known is None or digest in known:
            return None
        after = store.manifest.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            return _difference(digest, known)
    return None


def copy_and_hash(source: Path, target: Path) -> str:
    """Copy a file, sharing its blocks if the file system can (XFS, Btrfs); return its sha256."""
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(file_sha256, source)  # at the same time
        _copy(source, target)
        return digest.result()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            shutil.copyfile(source, target)


_FICLONE = 0x40049409  # linux/fs.h
