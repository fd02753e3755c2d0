"""Hold every companion shard (derived features) against its sidecar, its rows and its base."""

import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow.parquet as pq

from avstore.manifests.problem import Problem
from avstore.manifests.store import Store, shard_of, sidecar_of

# A companion's member: where its content lies, and its checksum (None: not read).
_Members = dict[str, tuple[int, int, int | None]]


def companions(
    con: duckdb.DuckDBPyConnection, store: Store, checksums: bool = True
) -> Iterator[Problem]:
    """Every disagreement of a companion. checksums: also read every value."""
    yield from _unknown(con, store)
    names = con.execute("SELECT DISTINCT shard FROM feature_samples ORDER BY shard").fetchall()
    for (name,) in names:
        yield from _companion(con, store, name, checksums)


def _unknown(con: duckdb.DuckDBPyConnection, store: Store) -> Iterator[Problem]:
    """Companions with a sidecar whose rows the manifest has not."""
    known = con.execute(
        "SELECT shard FROM feature_samples UNION SELECT shard FROM dropped"
    ).fetchall()
    for sidecar in store.feature_sidecars():
        shard = shard_of(sidecar.relative_to(store.root))
        if (shard,) not in known and pq.read_metadata(sidecar).num_rows:
            yield Problem(shard, "has a sidecar that the manifest does not know (avstore index)")


def _companion(
    con: duckdb.DuckDBPyConnection, store: Store, name: str, checksums: bool
) -> Iterator[Problem]:
    if not (store.root / name).is_file():
        yield Problem(name, "is in the manifest and not on disk")
        return
    if not (store.root / sidecar_of(name)).is_file():
        yield Problem(name, f"has no sidecar {sidecar_of(name).rsplit('/', 1)[-1]}")
    rows = con.execute(
        'SELECT clip_id, feature, "offset", size, crc32 FROM feature_samples '
        "WHERE shard = ? ORDER BY position",
        [name],
    ).fetchall()
    yield from _members(store, name, rows, checksums)
    yield from _base(con, name, [row[0] for row in rows])


def _members(store: Store, name: str, rows: list[Any], checksums: bool) -> Iterator[Problem]:
    """The tar's own members against the rows' names, offsets, sizes and checksums."""
    expected: _Members = {
        f"{clip_id.split('/', 1)[1]}.{feature}.npy": (offset, size, crc32 if checksums else None)
        for clip_id, feature, offset, size, crc32 in rows
    }
    try:
        with tarfile.open(store.root / name) as tar:
            found: _Members = {
                m.name: (m.offset_data, m.size, _crc32(tar, m) if checksums else None) for m in tar
            }
    except (tarfile.TarError, OSError) as error:
        yield Problem(name, f"is not a readable tar: {error}")
        return
    if list(found.items()) != list(expected.items()):
        differing = sorted(set(found.items()) ^ set(expected.items()))
        example = differing[0][0] if differing else "their order"
        yield Problem(name, f"has members that differ from its rows, for one {example}")


def _crc32(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = tar.extractfile(member)
    return zlib.crc32(content.read()) if content else 0


def _base(con: duckdb.DuckDBPyConnection, name: str, clip_ids: list[str]) -> Iterator[Problem]:
    """Same clips, same order as the base shard. A vocabulary's companion has no base."""
    folder, file = name.rsplit("/", 1)
    base = f"{folder}/{file.split('.', 1)[0]}.tar"
    rows = con.execute(
        "SELECT clip_id FROM samples WHERE shard = ? ORDER BY position", [base]
    ).fetchall()
    if rows and [row[0] for row in rows] != clip_ids:
        yield Problem(
            name, f"has {len(clip_ids)} clips in another order or number than the {len(rows)} "
            f"of its base {base} (avstore features stale)"
        )  # fmt: skip
