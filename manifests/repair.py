"""Move damaged shards away, so that the next build makes them again."""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests.names import is_name
from avstore.manifests.sidecar_check import misnamed, wrong_columns
from avstore.manifests.store import Store, shard_of, sidecar_of


def set_aside(store: Store, shards: Iterable[str]) -> Path:
    """Move shards and their sidecars to STORE/damaged; return that folder. The lock must be held.

    Nothing is deleted, so that their readable parts can still be recovered.
    """
    # A manifest of others may name other files; the rebuild leaves these rows out.
    valid = (shard for shard in shards if is_name("shard", shard))
    names = (name for shard in valid for name in (sidecar_of(shard), shard))
    return move_aside(store, (store.root / name for name in names))


def move_aside(store: Store, paths: Iterable[Path]) -> Path:
    """Move files to STORE/damaged; return that folder. The lock must be held."""
    folder = store.root / "damaged"
    for path in paths:
        if os.path.lexists(path):
            target = _unused(folder / path.relative_to(store.root))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    return folder


def _unused(target: Path) -> Path:
    """Return the path, with a number if an earlier repair moved a file there."""
    numbered = (target.with_name(f"{target.name}.{n}") for n in itertools.count(1))
    return next(path for path in itertools.chain([target], numbered) if not path.exists())


def unusable_sidecars(store: Store, sidecars: Iterable[Path]) -> dict[Path, str]:
    """Return the sidecars that a manifest cannot be built from, with the reason.

    Such a sidecar names other files, or its shard is missing or has another size. A damaged sidecar
    is left out by the rebuild itself.
    """
    reasons = {sidecar: _why(store, sidecar) for sidecar in sidecars}
    with duckdb.connect() as con:
        names = misnamed(con, [sidecar for sidecar, why in reasons.items() if not why])
    return {sidecar: why for sidecar, why in (reasons | names).items() if why}


def _why(store: Store, sidecar: Path) -> str | None:
    shard = store.root / shard_of(sidecar.relative_to(store.root))
    if linked := next((p for p in (sidecar, shard) if store.leads_out(p)), None):
        return f"cannot be used: {linked.name} is a link that leads out of the store"
    if not sidecar.is_file():
        return "is not a file"
    try:
        file = pq.ParquetFile(sidecar)
        return wrong_columns(sidecar, file) or _wrong_shard(file, shard)
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read: {str(error).splitlines()[0]}"


def _wrong_shard(file: pq.ParquetFile, shard: Path) -> str | None:
    """Return why a shard does not belong to its sidecar; None if it does."""
    if not file.metadata.num_rows:
        return None
    if shard.is_file():
        return _size(file, shard)
    # A shard without any usable clip has a sidecar and no tar.
    columns = file.schema_arrow.names
    empty = "stored" in columns and not any(file.read(columns=["stored"])["stored"].to_pylist())
    return None if empty else f"has no shard {shard.name} beside it"


def _size(file: pq.ParquetFile, shard: Path) -> str | None:
    """Return how the shard's size differs from the one in its sidecar; None if it does not."""
    if "shard_bytes" in file.schema_arrow.names:
        expected = file.read_row_group(0, columns=["shard_bytes"])["shard_bytes"][0].as_py()
    else:
        text = (file.metadata.metadata or {}).get(b"avstore-tar-bytes")
        expected = int(text) if text else None
    found = shard.stat().st_size
    if expected is None or expected == found:
        return None
    return f"has {expected} bytes as its shard's size, {shard.name} has {found}"
