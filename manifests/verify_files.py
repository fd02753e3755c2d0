"""Compare the store's files with their seals and with the hashes that the manifest has of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from avstore.manifests import commands
from avstore.manifests.inventory import LOG_PATTERN, damaged_lines, sound_lines
from avstore.manifests.manifest_hash import find_manifest_damage, foreign_logs
from avstore.manifests.path_text import text_path
from avstore.manifests.problem import Problem
from avstore.manifests.sealed import CheckedFiles, DamagedFileError
from avstore.manifests.snapshots import read_facts
from avstore.manifests.store import Store, StoreError, file_sha256, sidecar_of

_FOREIGN = "holds changes by another program, which DuckDB would apply"


def verify_files(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[Problem]:
    """Yield every file that differs from the hash that is recorded of it elsewhere.

    Shards are not among them: `verify` compares them with their rows as well.

    Args:
        con: Connection to the manifest.
        store: The store's paths.
        checked: The files of `sealed_files`, compared with their seals.
    """
    yield from _ledger(con, store, checked)
    yield from _logs(store)
    yield from _snapshots(store, checked)
    yield from _media(con, store, checked)


def damage_problems(store: Store, checked: CheckedFiles) -> Iterator[Problem]:
    """Yield the files that differ from their seals."""
    for path, what in checked.damage.items():
        yield Problem(str(path.relative_to(store.root)), what)


def verify_manifest_hash(store: Store) -> Iterator[Problem]:
    """Yield how the manifest differs from its recorded hash, and changes that wait beside it."""
    for log in foreign_logs(store.manifest):
        yield Problem(log.name, _FOREIGN)
    try:
        damage = find_manifest_damage(store)
    except DamagedFileError as error:
        yield Problem("manifest.duckdb.sha256", f"{error}")
        return
    if damage:
        yield Problem("manifest.duckdb", f"{damage}")


def _ledger(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[Problem]:
    """Yield append-only ledger files that are missing or were replaced."""
    rows = con.execute("SELECT name, seal FROM ledger_files ORDER BY name").fetchall()
    for name, seal in rows:
        path = store.ledger / name
        if not path.is_file():
            yield Problem(f"ledger/{name}", "is in the manifest but not on disk")
        elif "-" in name and seal and checked.digits.get(path, seal) != seal:
            yield Problem(f"ledger/{name}", "is not the file that the manifest was made from")


def _logs(store: Store) -> Iterator[Problem]:
    """Yield logs of attempts, of running and killed builds, that have damaged lines."""
    for log in sorted(store.ledger.glob(LOG_PATTERN)):
        if lines := list(damaged_lines(log)):
            yield Problem(
                str(log.relative_to(store.root)),
                f"has {len(lines)} damaged lines, the first is line {lines[0]}",
            )


def _snapshots(store: Store, checked: CheckedFiles) -> Iterator[Problem]:
    for facts in checked.sound(sorted(store.snapshots.glob("*.json"))):
        try:
            expected = read_facts(facts).sha256
        except StoreError as error:
            yield Problem(str(facts.relative_to(store.root)), str(error).removeprefix(f"{facts} "))
            continue
        file = facts.with_suffix(".duckdb")
        where = str(file.relative_to(store.root))
        for log in foreign_logs(file):
            yield Problem(str(log.relative_to(store.root)), _FOREIGN)
        if not file.is_file():
            yield Problem(where, "is missing")
        elif (found := file_sha256(file)) != expected:
            yield Problem(where, _differs(found, expected, facts.name))


def _media(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[Problem]:
    """Yield media files in the store that have another sha256 than was recorded of them."""
    expected: dict[str, set[str]] = {}
    for name, sha256 in _recorded_media(con, store, checked):
        if name and sha256:
            expected.setdefault(name, set()).add(sha256)
    for name, hashes in sorted(expected.items()):
        path = store.root / text_path(name)
        if not path.is_relative_to(store.root) or not path.is_file():
            continue  # raw media are optional to keep, and a source folder is not the store's
        if (found := file_sha256(path)) not in hashes:
            where = str(path.relative_to(store.root))
            yield Problem(where, _differs(found, min(hashes), "the manifest"))


def _recorded_media(
    con: duckdb.DuckDBPyConnection, store: Store, checked: CheckedFiles
) -> Iterator[tuple[str | None, str | None]]:
    """Yield path and sha256 of media, from the manifest and from what it does not have yet."""
    yield from con.execute(
        "SELECT DISTINCT path, sha256 FROM (SELECT path, sha256 FROM media "
        "UNION ALL SELECT path, sha256 FROM attempts WHERE stage = 'fetch')"
    ).fetchall()
    known = con.execute("SELECT name FROM ledger_files").fetchall()
    for path in checked.sound(sorted(store.ledger.glob("attempts-*.parquet"))):
        if (path.name,) not in known:
            for row in pq.read_table(path).to_pylist():
                yield row.get("path"), row.get("sha256")
    for log in sorted(store.ledger.glob(LOG_PATTERN)):
        for row in sound_lines(log):
            yield row.get("path"), row.get("sha256")


def verify_tar(store: Store, name: str) -> Iterator[Problem]:
    """Compare a companion shard with the size and sha256 in its sidecar's footer."""
    try:
        facts = pq.read_metadata(store.root / sidecar_of(name)).metadata or {}
    except (OSError, ValueError, pa.ArrowException):
        return  # is reported as a damaged or missing sidecar
    expected, path = facts.get(b"avstore-tar-sha256"), store.root / name
    if expected and (found := file_sha256(path)) != expected.decode():
        yield Problem(name, _differs(found, expected.decode(), "its sidecar"))


def _differs(found: str, expected: str, source: str) -> str:
    return f"has sha256 {found[:12]}…, {source} says {expected[:12]}…"


def count_unsealed(
    store: Store, checked: CheckedFiles, note: Callable[[str], None] = print
) -> None:
    """Note in one line how many files have no seal."""
    unsealed: list[Path] = list(checked.unsealed)
    if unsealed:
        index = commands.avstore("index", store=store.root)
        note(
            f"{len(unsealed)} files, such as {unsealed[0].relative_to(store.root)}, have no seal, "
            f"as older versions wrote them; to add it, run: {index}"
        )
