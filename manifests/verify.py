"""Check every shard against its checksum, its sidecar and its rows in the manifest."""

import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests import schema, tasks
from avstore.manifests.catalogue import open_read
from avstore.manifests.compare import compare_with_rebuild, reason_to_skip
from avstore.manifests.inventory import all_files
from avstore.manifests.lock import current_writer, killed_writer
from avstore.manifests.names import is_name
from avstore.manifests.problem import Problem
from avstore.manifests.sealed import CheckedFiles, check_files
from avstore.manifests.store import FOLLOW_LINKS, Store, file_sha256, shard_of, sidecar_of
from avstore.manifests.verify_files import (
    count_unsealed,
    damage_problems,
    verify_files,
    verify_manifest_hash,
    verify_tar,
)

# Members of a companion: offset, size and CRC-32 (None: not read) by name.
_Places = dict[str, tuple[int, int, int | None]]


def verify_store(
    store: Store,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Problem]:
    """Return every disagreement in the store, also if its manifest is damaged.

    Args:
        store: The store's paths.
        checksums: See `verify`.
        progress: See `verify`.
        note: See `verify`.

    Raises:
        StoreError: There is no manifest, or it cannot be opened.
    """
    if checksums and (found := list(verify_manifest_hash(store))):
        note("The shards were not compared with the damaged manifest.")
        return [*found, *damage_problems(store, check_files(all_files(store)))]
    try:
        with open_read(store) as con:
            return list(verify(con, store, checksums, progress, note))
    except duckdb.Error as error:
        what = f"cannot be read: {str(error).splitlines()[0]} (avstore index)"
        return [Problem("manifest.duckdb", what)]


def verify(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    checksums: bool = True,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[Problem]:
    """Yield every disagreement in the store.

    Args:
        con: Connection to the manifest.
        store: The store's paths.
        checksums: Also read every file and check its seal or sha256, and compare the manifest with
            a rebuild.
        progress: Called with 1 after each base shard.
        note: Called with lines that are no problem: files of older versions, and why a comparison
            was left out.
    """
    checked = check_files(all_files(store) if checksums else ())
    count_unsealed(store, checked, note)
    sound = True
    for problem in _problems(con, store, checked, checksums, progress):
        sound = False
        yield problem
    if checksums and sound:
        yield from _compare(con, store, checked, note)


def _problems(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    checked: CheckedFiles,
    checksums: bool,
    progress: Callable[[int], None] | None,
) -> Iterator[Problem]:
    """Yield the problems of single files and rows."""
    for path in store.linked_folders():
        yield Problem(str(path.relative_to(store.root)), _LINK)
    yield from _definitions(con)
    yield from _accounts(con)
    yield from damage_problems(store, checked)
    yield from verify_files(con, store, checked) if checksums else ()
    yield from _leftovers(con, store, checked)
    for row in con.execute(
        "SELECT path, bytes, sha256, clips FROM shards ORDER BY path"
    ).fetchall():
        yield from _shard(con, store, row, checksums)
        if progress:
            progress(1)
    yield from _companions(con, store, checksums)


def _compare(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    checked: CheckedFiles,
    note: Callable[[str], None],
) -> Iterator[Problem]:
    """Compare the manifest with a rebuild, unless a writer is or was at work meanwhile."""
    reason = reason_to_skip(con, store, checked)
    found = [] if reason else list(compare_with_rebuild(con, store, checked))
    if found and not reason:
        reason = reason_to_skip(con, store, checked)  # a writer that began meanwhile
    if reason:
        note(f"The manifest was not compared with a rebuild: {reason}.")
    else:
        yield from found


_LINK = f"is a link that leads out of the store and is not read ({FOLLOW_LINKS}=1 reads it)"
_NO_SHARD = "is in the manifest but is not the name of a shard (avstore index)"

# Views that a manifest without task streams lacks if an older version wrote it.
_OPTIONAL = {f"view {x}" for x in ("task_clips", "stored_clips", "shared_sources", "leaking_clips")}


def _definitions(con: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    """Yield views and macros that differ from the code's, as a manifest of others may have."""
    streams = con.execute("SELECT * FROM tasks").fetchall()
    with tasks.empty_manifest() as code:
        if streams:
            code.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?)", streams)
        tasks.create_task_view(code)
        expected = schema.definitions(code)
    found = schema.definitions(con)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name) and (name in found or name not in _OPTIONAL):
            how = "differs from this version's" if name in expected else "is not one of avstore's"
            how = how if name in found else "is missing"
            yield Problem("manifest.duckdb", f"{name} {how} (avstore index)")


def _accounts(con: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    differing = con.execute(
        """
        SELECT coalesce(s.clip_id, d.clip_id), coalesce(s.stage, d.stage), s.status, d.status
        FROM status s FULL JOIN derived_status d USING (clip_id, stage)
        WHERE s.status IS DISTINCT FROM d.status OR s.verdict IS DISTINCT FROM d.verdict
        """
    ).fetchall()
    for clip_id, stage, status, derived in differing:
        yield Problem(
            clip_id,
            f"at {stage}: status is {status}, the other tables give {derived}",
        )
    twice = con.execute(
        "SELECT clip_id, stage, count(*) FROM status GROUP BY ALL HAVING count(*) > 1"
    ).fetchall()
    for clip_id, stage, count in twice:
        yield Problem(clip_id, f"has {count} statuses at {stage} instead of one")
    doubled = con.execute(
        "SELECT clip_id, fingerprint, count(*) FROM samples GROUP BY ALL HAVING count(*) > 1"
    ).fetchall()
    for clip_id, fingerprint, count in doubled:
        yield Problem(clip_id, f"is stored {count} times under fingerprint {fingerprint[:8]}")


def _leftovers(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[Problem]:
    """Yield files that the manifest lacks; those that a build has planned are no defect."""
    known = {row[0] for row in con.execute("SELECT path FROM shards").fetchall()}
    known |= {row[0] for row in con.execute("SELECT shard FROM dropped").fetchall()}
    known |= {row[0] for row in con.execute("SELECT shard FROM plans").fetchall()}
    plans = (x for x in store.ledger.glob("plans-*.parquet") if x not in checked.damage)
    known |= set(_column(plans, "shard"))
    for sidecar in store.sidecars():
        if store.leads_out(sidecar):
            continue  # `verify` or `_shard` reports it
        shard = shard_of(sidecar.relative_to(store.root))
        if shard not in known:
            yield Problem(shard, "has a sidecar that is not in the manifest (avstore index)")
    for tar in store.shards.glob("*/*/*.tar"):
        name = str(tar.relative_to(store.root))
        if tar.stem.count(".") == 0 and name not in known:
            yield Problem(name, "is not in the manifest (avstore index, or avstore gc)")


def _column(paths: Iterable[Path], name: str) -> Iterator[str]:
    """Yield the values of a text column of the readable ones of Parquet files."""
    for path in paths:
        with suppress(OSError, ValueError, pa.ArrowException):
            yield from pq.read_table(path, columns=[name]).column(0).to_pylist()


def _shard(
    con: duckdb.DuckDBPyConnection, store: Store, row: tuple[str, int, str, int], checksums: bool
) -> Iterator[Problem]:
    name, size, sha256, clips = row
    if wrong := _unreadable(store, name):
        yield wrong
        return
    path, sidecar = store.root / name, store.root / sidecar_of(name)
    if not path.is_file():
        yield Problem(name, "is in the manifest but not on disk")
        return
    if path.stat().st_size != size:
        yield Problem(name, f"has {path.stat().st_size} bytes, the manifest says {size}")
        return
    if checksums and (found := file_sha256(path)) != sha256:
        yield Problem(name, f"has sha256 {found[:12]}…, the manifest says {sha256[:12]}…")
        return
    if not sidecar.is_file():
        yield Problem(name, f"has no sidecar {sidecar.name}")
    else:
        yield from _sidecar(con, name, sidecar, clips)
    yield from _members(con, name, path)


def _unreadable(store: Store, name: str) -> Problem | None:
    """Return why the files of a shard in the manifest are not read, or None."""
    if not is_name("shard", name):
        return Problem(name, _NO_SHARD)
    for file in (name, sidecar_of(name)):
        if store.leads_out(store.root / file):
            return Problem(name, f"{Path(file).name} {_LINK}")
    return None


def _sidecar(
    con: duckdb.DuckDBPyConnection, name: str, sidecar: Path, clips: int
) -> Iterator[Problem]:
    try:
        stored = pq.read_table(sidecar, columns=["clip_id", "stored", "crc32"])
    except (OSError, ValueError, pa.ArrowException) as error:
        yield Problem(name, f"has a sidecar that cannot be read: {str(error).splitlines()[0]}")
        return
    rows = {r["clip_id"]: r["crc32"] for r in stored.to_pylist() if r["stored"]}
    in_manifest = dict(
        con.execute("SELECT clip_id, crc32 FROM samples WHERE shard = ?", [name]).fetchall()
    )
    if rows != in_manifest or len(rows) != clips:
        yield Problem(
            name,
            f"holds {clips} clips by its row, {len(rows)} by its sidecar, "
            f"{len(in_manifest)} by samples",
        )


def _members(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> Iterator[Problem]:
    """Compare the tar's members with the names, offsets and sizes of the rows."""
    try:
        with tarfile.open(path, "r:") as tar:
            found = {m.name: (m.offset_data, m.size) for m in tar}
    except tarfile.TarError as error:
        yield Problem(name, f"is not a readable tar: {error}")
        return
    rows = con.execute(
        "SELECT clip_id, members, offsets, sizes FROM samples WHERE shard = ?", [name]
    ).fetchall()
    expected = {}
    for clip_id, members, offsets, sizes in rows:
        key = clip_id.partition("/")[2]
        for suffix, offset, size in zip(members.split(" "), offsets, sizes, strict=False):
            expected[f"{key}.{suffix}"] = (offset, size)
    if found != expected:
        wrong = sorted(set(found.items()) ^ set(expected.items()))[:1]
        yield Problem(name, f"has members that differ from its rows, for example {wrong[0][0]}")


def _companions(con: duckdb.DuckDBPyConnection, store: Store, checksums: bool) -> Iterator[Problem]:
    """Yield every disagreement of companion shards. checksums: also read every value."""
    yield from _unknown(con, store)
    names = con.execute("SELECT DISTINCT shard FROM feature_samples ORDER BY shard").fetchall()
    for (name,) in names:
        yield from _companion(con, store, name, checksums)


def _unknown(con: duckdb.DuckDBPyConnection, store: Store) -> Iterator[Problem]:
    """Yield companions whose sidecar is not in the manifest."""
    known = con.execute(
        "SELECT shard FROM feature_samples UNION SELECT shard FROM dropped"
    ).fetchall()
    if current_writer(store) or killed_writer(store):
        return  # the next run ingests what this one leaves
    for sidecar in store.feature_sidecars():
        if store.leads_out(sidecar):
            continue
        shard = shard_of(sidecar.relative_to(store.root))
        if (shard,) not in known and _rows(sidecar):
            yield Problem(shard, "has a sidecar that is not in the manifest (avstore index)")


def _rows(sidecar: Path) -> int:
    try:
        return int(pq.read_metadata(sidecar).num_rows)
    except (OSError, ValueError, pa.ArrowException):
        return 0  # is reported as damaged


def _companion(
    con: duckdb.DuckDBPyConnection, store: Store, name: str, checksums: bool
) -> Iterator[Problem]:
    if wrong := _unreadable(store, name):
        yield wrong
        return
    if not (store.root / name).is_file():
        yield Problem(name, "is in the manifest but not on disk")
        return
    if not (store.root / sidecar_of(name)).is_file():
        yield Problem(name, f"has no sidecar {sidecar_of(name).rsplit('/', 1)[-1]}")
    rows = con.execute(
        'SELECT clip_id, feature, "offset", size, crc32 FROM feature_samples '
        "WHERE shard = ? ORDER BY position",
        [name],
    ).fetchall()
    differing = list(_companion_members(store, name, rows, checksums))
    yield from differing
    yield from verify_tar(store, name) if checksums and not differing else ()
    yield from _base(con, name, [row[0] for row in rows])


def _companion_members(
    store: Store, name: str, rows: list[Any], checksums: bool
) -> Iterator[Problem]:
    """Compare the tar's members with the names, offsets, sizes and checksums of the rows."""
    expected: _Places = {
        f"{clip_id.partition('/')[2]}.{feature}.npy": (offset, size, crc32 if checksums else None)
        for clip_id, feature, offset, size, crc32 in rows
    }
    try:
        with tarfile.open(store.root / name, "r:") as tar:
            found: _Places = {
                m.name: (m.offset_data, m.size, _crc32(tar, m) if checksums else None) for m in tar
            }
    except (tarfile.TarError, OSError) as error:
        yield Problem(name, f"is not a readable tar: {error}")
        return
    if list(found.items()) != list(expected.items()):
        differing = sorted(set(found.items()) ^ set(expected.items()))
        example = differing[0][0] if differing else "their order"
        yield Problem(name, f"has members that differ from its rows, for example {example}")


def _crc32(tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    content = tar.extractfile(member)
    return zlib.crc32(content.read()) if content else 0


def _base(con: duckdb.DuckDBPyConnection, name: str, clip_ids: list[str]) -> Iterator[Problem]:
    """Compare clips and order with the base shard; a vocabulary's companion has no base."""
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
