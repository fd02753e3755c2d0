"""Mirror the manifest of a remote store (S3, NFS, any fsspec URL) into a local cache folder.

DuckDB needs a local disk. The sidecars and the ledger, which are small and do not change once
written, are copied, and the manifest is updated from new ones; shards are read in place.
"""

import errno
import filecmp
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec

from avstore.manifests import ledger, snapshots
from avstore.manifests.catalogue import open_write
from avstore.manifests.errors import first_sentence, is_client_error, is_machine_error
from avstore.manifests.ingest import commit_shards, ingest_features, refresh_status, transaction
from avstore.manifests.lock import writing
from avstore.manifests.names import check_relative
from avstore.manifests.rebuild import not_dropped, rebuild
from avstore.manifests.sealed import check_files
from avstore.manifests.store import Store, StoreError, shard_of
from avstore.manifests.tasks import create_task_view


def cache_directory() -> Path:
    """Return AVSTORE_CACHE, or the folder avstore in the user's cache directory."""
    if named := os.environ.get("AVSTORE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "avstore"


def mirror_store(url: str, cache: Path | None = None, **options: Any) -> tuple[Store, Any, str]:
    """Create or update the mirror of the store at `url`.

    Args:
        url: Root of the store, an fsspec URL.
        cache: Folder that holds mirrors. Default: `cache_directory()`.
        options: fsspec options.

    Returns:
        The local store (without shards), the fsspec file system, and the store's root on it.

    Raises:
        StoreError: There is no store at `url`, or it cannot be read or mirrored.
    """
    folder = cache or cache_directory()
    try:
        return _mirror(url, folder, options)
    except Exception as error:
        if reason := _fault_of_folder(error, folder):
            raise StoreError(
                f"{reason[0]} cannot hold the mirrored manifest: {reason[1]}; choose another "
                "cache folder (AVSTORE_CACHE)"
            ) from error
        if not is_client_error(error) and not isinstance(error, OSError):
            raise
        raise StoreError(
            f"{url} cannot be read: {' '.join(str(error).split())}; check the address, the network "
            "and the credentials"
        ) from error


def _fault_of_folder(error: Exception, folder: Path) -> tuple[str, str] | None:
    """Return the path and the reason of an error of the cache folder; None for other errors."""
    if is_machine_error(error):
        return str(folder), first_sentence(error)
    if not isinstance(error, OSError):
        return None
    if error.filename and Path(os.fsdecode(error.filename)).is_relative_to(folder):
        return os.fsdecode(error.filename), error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
    return (str(folder), error.strerror or str(error)) if full else None


def _mirror(url: str, cache: Path, options: dict[str, Any]) -> tuple[Store, Any, str]:
    fs, root = fsspec.core.url_to_fs(url, **options)
    local = Store(cache / hashlib.sha256(url.encode()).hexdigest()[:16])
    local.root.mkdir(parents=True, exist_ok=True)
    with writing(local, wait_s=600):
        new, replaced = _fetch_new(fs, root, local)
        if not any(local.ledger.glob("**/*")):
            raise StoreError(f"no store at {url}: it has no ledger; give the folder that has one")
        if new or replaced or not local.manifest.is_file():
            _refresh(local, whole=replaced or not local.manifest.is_file())
    return local, fs, root


def _fetch_new(fs: Any, root: str, local: Store) -> tuple[bool, bool]:
    """Copy changed files; return (some are new, some were replaced or removed)."""
    seen_path = local.root / "seen.json"
    seen = json.loads(seen_path.read_text()) if seen_path.is_file() else {}
    now = _listing(fs, root)
    stale = [name for name in seen if name not in now]
    wanted = [name for name, stamp in now.items() if seen.get(name) != stamp]
    for name in stale:
        (local.root / name).unlink(missing_ok=True)
    different = [name for name in wanted if _fetch(fs, f"{root.rstrip('/')}/{name}", local, name)]
    if wanted or stale:
        temp = seen_path.with_name(".seen.json.tmp")
        temp.write_text(json.dumps(now))
        temp.replace(seen_path)
    # Files named after a run or a shard never change; the others are tables that get replaced.
    tables = [n for n in different if n.startswith("ledger/") and "-" not in n.rsplit("/", 1)[1]]
    return bool(different), bool(stale or tables or any(name in seen for name in different))


def _fetch(fs: Any, path: str, local: Store, name: str) -> bool:
    """Copy one file, whole or not at all; return whether it differs from the local one."""
    target = local.root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=local.root) as folder:
        temp = Path(folder) / "file"
        fs.get_file(path, str(temp))
        if target.is_file() and filecmp.cmp(temp, target, shallow=False):
            return False
        temp.replace(target)
    return True


def _listing(fs: Any, root: str) -> dict[str, str]:
    """Return sidecars and ledger files: path within the store to a stamp of its state."""
    fs.invalidate_cache()
    found: dict[str, str] = {}
    for folder in ("ledger", "shards"):
        try:
            entries = fs.find(f"{root.rstrip('/')}/{folder}", detail=True)
        except FileNotFoundError:
            continue
        for path, facts in entries.items():
            name = folder + path.split(root.rstrip("/") + "/" + folder, 1)[1]
            check_relative(name, f"the store at {root} lists the file")
            base = name.rsplit("/", 1)[1]
            if base.endswith((".parquet", ".json")) and not base.startswith("."):
                stamp = facts.get("ETag") or facts.get("mtime") or facts.get("created")
                found[name] = f"{facts.get('size')} {stamp}"
    return found


def _refresh(local: Store, whole: bool) -> None:
    with open_write(local, fresh=whole) as writer:
        con = writer.con
        if whole:
            rebuild(writer, local)
        else:
            with transaction(con):
                if ledger.load_new_files(con, local):
                    refresh_status(con)
            done = {row[0] for row in con.execute("SELECT path FROM shards").fetchall()}
            done |= {row[0] for row in con.execute("SELECT shard FROM plans WHERE done").fetchall()}
            new = [x for x in local.sidecars() if shard_of(x.relative_to(local.root)) not in done]
            checked = check_files(not_dropped(con, local, new))
            checked.log_damage()
            for path in checked.digits:
                commit_shards(con, [path])
            _features(writer.con, local)
        create_task_view(con)
        writer.publish()


def _features(con: Any, local: Store) -> None:
    rows = con.execute("SELECT DISTINCT shard FROM feature_samples").fetchall()
    known = {row[0] for row in rows}
    new = [
        path
        for path in not_dropped(con, local, local.feature_sidecars())
        if shard_of(path.relative_to(local.root)) not in known
    ]
    checked = check_files(new)
    checked.log_damage()
    with transaction(con):
        ingest_features(con, list(checked.digits), checked=True)


def fetch_snapshot(fs: Any, root: str, local: Store, name: str) -> None:
    """Copy a named snapshot into the mirror unless it has it.

    Args:
        fs: fsspec file system of the store.
        root: Root of the store on it.
        local: The mirror.
        name: Name of the snapshot.

    Raises:
        StoreError: The store has no such snapshot.
    """
    local.snapshots.mkdir(exist_ok=True)
    for target in snapshots.snapshot_files(local, name):
        file = target.name
        if not target.is_file():
            try:
                fs.get_file(f"{root.rstrip('/')}/snapshots/{file}", str(target))
            except FileNotFoundError as error:
                target.unlink(missing_ok=True)
                raise StoreError(f"the store at {root} has no snapshot {name!r}") from error
