"""Named, immutable snapshots of the manifest, such as the state that a paper used.

STORE/snapshots/NAME.duckdb is a copy of the manifest, NAME.json its facts. `gc` keeps the shards
that any snapshot names.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import duckdb

from avstore.manifests import commands
from avstore.manifests.catalogue import guard, open_guarded, open_read
from avstore.manifests.ledger import now
from avstore.manifests.manifest_hash import find_manifest_damage, refuse_foreign_logs
from avstore.manifests.names import is_name
from avstore.manifests.nearest import did_you_mean
from avstore.manifests.schema import sql_name
from avstore.manifests.sealed import json_bytes, read_json
from avstore.manifests.store import Store, StoreError, committing, file_sha256, refuse_links
from avstore.manifests.streams import sql_literal


@dataclass(frozen=True)
class Snapshot:
    """Facts of a snapshot.

    Attributes:
        name: Name of the snapshot.
        created_at: UTC time in ISO format.
        note: Free text.
        clips: Number of published clips.
        samples: Number of stored samples.
        shards: Number of base shards.
        features: Number of derived features.
        bytes: Size of the DuckDB file.
        sha256: Hex digest of the DuckDB file.
    """

    name: str
    created_at: str
    note: str
    clips: int
    samples: int
    shards: int
    features: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SnapshotDiff:
    """Rows of one table in which two manifests differ.

    Attributes:
        what: Table that was compared.
        added: Rows that only the later manifest has.
        removed: Rows that only the earlier manifest has.
        changed: Rows that both have, with other values.
        examples: Up to three keys of each kind.
    """

    what: str
    added: int
    removed: int
    changed: int
    examples: tuple[str, ...]


def snapshot_files(store: Store, name: str) -> tuple[Path, Path]:
    """Return the DuckDB file and the facts of a snapshot of this name, whether it exists or not.

    Raises:
        StoreError: The name is invalid.
    """
    if not is_name("snapshot", name):
        raise StoreError(
            f"{name!r} cannot name a snapshot: use up to 100 letters, digits, '-', '_' and '.', "
            "and begin with a letter or a digit"
        )
    return store.snapshots / f"{name}.duckdb", store.snapshots / f"{name}.json"


def create_snapshot(store: Store, name: str, note: str = "") -> Snapshot:
    """Copy the current manifest under a name.

    Args:
        store: The store's paths.
        name: Name of the snapshot.
        note: Free text to keep with it.

    Raises:
        StoreError: The name is invalid or taken.
    """
    refuse_links(store)
    file, facts = snapshot_files(store, name)
    if file.exists() or facts.exists():
        raise StoreError(
            f"there is a snapshot {name!r} already; snapshots do not change, choose another name"
        )
    open_read(store).close()  # an older manifest is migrated first
    if damage := find_manifest_damage(store):
        index = commands.avstore("index", store=store.root)
        raise StoreError(f"{store.manifest} {damage}; run {index}")
    with store.manifest.open("rb") as source, committing(file) as target:
        shutil.copyfileobj(source, target, 1 << 22)
    file.chmod(0o444)
    with open_guarded(file) as con:
        clips, samples, shards, features = con.execute(
            "SELECT (SELECT count(*) FROM clips), (SELECT count(*) FROM samples), "
            "(SELECT count(*) FROM shards), (SELECT count(*) FROM features)"
        ).fetchall()[0]
    stamp = now().isoformat(timespec="seconds")
    size, sha256 = file.stat().st_size, file_sha256(file)
    snapshot = Snapshot(name, stamp, note, clips, samples, shards, features, size, sha256)
    with committing(facts) as out:
        out.write(json_bytes(asdict(snapshot), indent=1))
    facts.chmod(0o444)
    return snapshot


def list_snapshots(store: Store) -> list[Snapshot]:
    """Return all snapshots, the oldest first."""
    found = [read_facts(path) for path in store.snapshots.glob("*.json")]
    return sorted(found, key=lambda snapshot: (snapshot.created_at, snapshot.name))


def read_facts(path: Path) -> Snapshot:
    """Return what a snapshot's JSON file says of it.

    Raises:
        StoreError: The file is damaged, or of something else.
    """
    try:
        snapshot = Snapshot(**read_json(path))
        for field in fields(Snapshot):
            if type(getattr(snapshot, field.name)) is not field.type:
                raise TypeError(f"{field.name} has another type")
        if snapshot.name != path.stem:
            raise ValueError(f"it is of {snapshot.name!r}")
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path} does not describe a snapshot ({error}); remove it and {path.stem}.duckdb"
        ) from error
    return snapshot


def snapshot_path(store: Store, name: str) -> Path:
    """Return the snapshot's DuckDB file, after checking its sha256.

    Raises:
        StoreError: There is no such snapshot, or its file was changed.
    """
    file, facts = snapshot_files(store, name)
    if not file.is_file() or not facts.is_file():
        known = [snapshot.name for snapshot in list_snapshots(store)]
        raise StoreError(
            f"no snapshot {name!r} in {store.root}{did_you_mean(name, known)}; there is: "
            f"{', '.join(known) or 'none'}"
        )
    recorded = read_facts(facts).sha256
    if (found := file_sha256(file)) != recorded:
        raise StoreError(
            f"snapshot {name!r} was changed or damaged: {file} has sha256 {found[:12]}…, "
            f"its facts say {recorded[:12]}…"
        )
    return file


def pinned_shards(store: Store) -> set[str]:
    """Return the base and companion shards that any snapshot names."""
    names: set[str] = set()
    for file in sorted(store.snapshots.glob("*.duckdb")):
        try:
            names |= _shards_of(file)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"snapshot {file} cannot be read ({reason}); remove it") from error
    return names


def _shards_of(file: Path) -> set[str]:
    with open_guarded(file) as con:
        rows = con.execute("SELECT path FROM shards UNION SELECT shard FROM plans WHERE done")
        names = {row[0] for row in rows.fetchall()}
        tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        if ("feature_samples",) in tables:
            rows = con.execute("SELECT DISTINCT shard FROM feature_samples")
            names.update(row[0] for row in rows.fetchall())
    return names


@contextmanager
def _both(store: Store, old: str, new: str | None) -> Iterator[duckdb.DuckDBPyConnection]:
    later = snapshot_path(store, new) if new else store.manifest
    with duckdb.connect() as con:
        for alias, path in (("old", snapshot_path(store, old)), ("new", later)):
            refuse_foreign_logs(path)
            con.execute(f"ATTACH {sql_literal(str(path))} AS {sql_name(alias)} (READ_ONLY)")
        yield guard(con)


# name: (key as text, table, columns that are compared)
_COMPARED = {
    "clips": ("clip_id", "clips", "split, start_s, end_s, subsets, labels, label_ids, captions"),
    "shards": ("path", "shards", "sha256"),
    "samples": ("clip_id || ' at ' || left(fingerprint, 8)", "samples", "shard, crc32"),
    "status": ("clip_id || ' at ' || stage", "status", "status, verdict"),
    "features": ("feature || '-' || left(fingerprint, 8)", "features", "weights_sha256"),
    "tasks": ("stream || ' ' || position || ' ' || role", "tasks", "task, query"),
}


def diff_snapshots(store: Store, old: str, new: str | None = None) -> list[SnapshotDiff]:
    """Compare two snapshots, table by table.

    Args:
        store: The store's paths.
        old: Name of the earlier snapshot.
        new: Name of the later snapshot, or None for the current manifest.

    Raises:
        StoreError: There is no such snapshot.
    """
    with _both(store, old, new) as con:
        return [_difference(con, what, *how) for what, how in _COMPARED.items()]


def _difference(
    con: duckdb.DuckDBPyConnection, what: str, key: str, table: str, columns: str
) -> SnapshotDiff:
    rows = con.execute(
        f"""
        WITH a AS (SELECT {key} AS k, hash({columns}) AS h FROM old.{table}),
             b AS (SELECT {key} AS k, hash({columns}) AS h FROM new.{table}),
             d AS (SELECT coalesce(a.k, b.k) AS k, CASE WHEN a.k IS NULL THEN 'added'
                          WHEN b.k IS NULL THEN 'removed' ELSE 'changed' END AS how
                   FROM a FULL JOIN b ON a.k = b.k WHERE a.h IS DISTINCT FROM b.h)
        SELECT how, count(*), list(k ORDER BY k)[:3] FROM d GROUP BY how
        """
    ).fetchall()
    counts = {how: count for how, count, _ in rows}
    examples = tuple(f"{how} {k}" for how, _, some in sorted(rows) for k in some)
    return SnapshotDiff(
        what, counts.get("added", 0), counts.get("removed", 0), counts.get("changed", 0), examples
    )
