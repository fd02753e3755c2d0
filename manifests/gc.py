"""Find and remove files that nothing refers to. Never run it during a build.

It keeps what the manifest or a snapshot names, planned shards, and sidecars that are not in the
manifest yet (the next build or `index` ingests them). It never touches media under raw/, which may
be the user's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from avstore.manifests import annotation_sets
from avstore.manifests.partials import unneeded_partials
from avstore.manifests.snapshots import pinned_shards
from avstore.manifests.store import Store, refuse_links, shard_of, sidecar_of, sync_folder


@dataclass(frozen=True)
class Garbage:
    """A file that nothing refers to.

    Attributes:
        path: Path relative to the store.
        bytes: Size of the file.
        why: The reason, for people.
    """

    path: str
    bytes: int
    why: str


def find_garbage(con: duckdb.DuckDBPyConnection, store: Store) -> list[Garbage]:
    """Return the files that `collect_garbage` may remove, by path. The lock must be held."""
    found = [
        *_temporaries(store),
        *_partials(con, store),
        *_annotations(store),
        *_shards(con, store),
    ]
    return sorted(found, key=lambda item: item.path)


def collect_garbage(store: Store, items: list[Garbage]) -> int:
    """Remove files, tars before their sidecars; return the bytes freed. The lock must be held.

    Raises:
        StoreError: A folder of the store is a link that leads out of it.
    """
    refuse_links(store)
    folders: set[Path] = set()
    for item in sorted(items, key=lambda item: not item.path.endswith(".tar")):
        path = store.root / item.path
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
        if folder != store.root and not any(folder.iterdir()):
            folder.rmdir()
    return sum(item.bytes for item in items)


def _item(store: Store, path: Path, why: str) -> Garbage:
    return Garbage(str(path.relative_to(store.root)), path.lstat().st_size, why)


def _temporaries(store: Store) -> Iterator[Garbage]:
    for path in store.root.rglob(".*.tmp"):
        if path.is_file():
            yield _item(store, path, "a temporary file of a killed run")


def _partials(con: duckdb.DuckDBPyConnection, store: Store) -> Iterator[Garbage]:
    for partial in unneeded_partials(con, store):
        for path in (partial.tar, partial.journal):
            if path.is_file():
                yield _item(store, path, "a partial shard that no build will continue")


def _annotations(store: Store) -> Iterator[Garbage]:
    """Yield annotation tables that were replaced since."""
    for facts in store.ledger.glob("annotations/*/facts.json"):
        current = annotation_sets.read_facts(facts)["annotation_sha256"][:8]
        for path in facts.parent.glob("*/*.parquet"):
            if path.parent.name != current:
                yield _item(store, path, "annotations that were replaced")


def _shards(con: duckdb.DuckDBPyConnection, store: Store) -> Iterator[Garbage]:
    dropped = _names(con, "SELECT shard FROM dropped")
    needed = pinned_shards(store) | _names(
        con,
        "SELECT path FROM shards UNION SELECT shard FROM feature_samples UNION "
        "SELECT shard FROM plans WHERE shard NOT IN (SELECT shard FROM dropped)",
    )
    for path in sorted(store.shards.glob("*/*/*")):
        relative = path.relative_to(store.root)
        if path.suffix not in (".tar", ".parquet") or path.name.startswith("."):
            continue
        shard = str(relative) if path.suffix == ".tar" else shard_of(relative)
        if shard in needed:
            continue
        if shard in dropped:
            yield _item(store, path, "of a dropped recipe or feature")
        elif path.suffix == ".tar" and not (store.root / sidecar_of(shard)).is_file():
            yield _item(store, path, "a shard without a sidecar that no plan names")


def _names(con: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    return {row[0] for row in con.execute(query).fetchall()}
