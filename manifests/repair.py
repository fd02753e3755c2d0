"""Move damaged shards away, so that the next build makes them again."""

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
    folder = store.root / "damaged"
    for shard in shards:
        if not is_name("shard", shard):
            continue  # of a manifest that names other files; the rebuild leaves it out
        for name in (sidecar_of(shard), shard):
            if os.path.lexists(store.root / name):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(store.root / name, target)
    return folder


def unusable_sidecars(store: Store, sidecars: Iterable[Path]) -> dict[Path, str]:
    """Return the sidecars that a manifest cannot be built from, with the reason.

    Such a sidecar is unreadable or names other files, or its shard is missing.
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
        if wrong := wrong_columns(sidecar, file):
            return wrong
        if shard.is_file() or not file.metadata.num_rows:
            return None
        # A shard without any usable clip has a sidecar and no tar.
        columns = file.schema_arrow.names
        empty = "stored" in columns and not any(file.read(columns=["stored"])["stored"].to_pylist())
        return None if empty else f"has no shard {shard.name} beside it"
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read: {str(error).splitlines()[0]}"
