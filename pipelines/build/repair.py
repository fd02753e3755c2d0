"""Repair a store: rebuild its manifest, and write back what only the manifest has."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from avstore.manifests import commands, ledger
from avstore.manifests.advice import completing_commands
from avstore.manifests.catalogue import open_guarded, open_write
from avstore.manifests.inventory import indexed_files, other_files, seal_older_files
from avstore.manifests.ledger_restore import restore_ledger
from avstore.manifests.manifest_hash import foreign_logs, sound_hash
from avstore.manifests.rebuild import rebuild
from avstore.manifests.repair import move_aside, set_aside, unusable_sidecars
from avstore.manifests.sealed import check_files
from avstore.manifests.store import Store, remove_temporaries, shard_of, sidecar_of
from avstore.manifests.tasks import create_task_view
from avstore.pipelines.fetch.attempt_log import recover_attempts


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        sidecars: Number of base sidecars that the manifest was made from.
        moved: Files that were moved to STORE/damaged, relative to the store, with the reason.
        restored: Files of the ledger that were written again from the manifest.
        sealed: Number of files of older versions that were sealed.
        commands: Commands that write what is missing again.
    """

    sidecars: int
    moved: dict[str, str]
    restored: list[str]
    sealed: int
    commands: list[str]


def repair_store(store: Store, damaged: Iterable[str] = ()) -> Repaired:
    """Move damaged files to STORE/damaged and rebuild the manifest; the lock must be held.

    Args:
        store: The store's paths.
        damaged: Paths relative to the store that `verify` found damaged; others are found here by
            their seals and sizes.
    """
    remove_temporaries(store)
    logs = _set_logs_aside(store)
    recover_attempts(store.root)
    before = _companions(store)
    moved = logs | _move(store, dict.fromkeys(set(damaged) - logs.keys(), "is damaged"))
    checked = check_files(indexed_files(store))
    others = check_files(other_files(store))
    moved |= _move(store, _names(store, checked.damage | others.damage))
    unusable = unusable_sidecars(store, [*store.sidecars(), *store.feature_sidecars()])
    moved |= _move(store, _names(store, unusable))
    restored = restore_ledger(store, checked)
    move_aside(store, (path for path in store.root.glob("manifest.duckdb*") if path.is_dir()))
    with open_write(store, fresh=True) as writer:
        run = ledger.new_run("index", {})
        indexed, rest = check_files(indexed_files(store)), check_files(other_files(store))
        checked = seal_older_files(indexed)
        seal_older_files(rest)
        count = rebuild(writer, store, (), checked)
        create_task_view(writer.con)
        ledger.finish_run(writer.con, store, run, "done")
        lost = before | {name for name in moved if name.endswith(".tar")}
        lost = {name for name in lost if not (store.root / name).is_file()}
        builds = completing_commands(writer.con, store, sorted(lost))
        writer.publish()
    builds += _report_commands(store, moved)
    return Repaired(count, moved, restored, len(indexed.unsealed) + len(rest.unsealed), builds)


def _names(store: Store, reasons: dict[Path, str]) -> dict[str, str]:
    return {str(path.relative_to(store.root)): reason for path, reason in reasons.items()}


def _set_logs_aside(store: Store) -> dict[str, str]:
    """Move changes of other programs away from the manifest and the snapshots."""
    databases = [store.manifest, *sorted(store.snapshots.glob("*.duckdb"))]
    logs = [log for database in databases for log in foreign_logs(database)]
    move_aside(store, logs)
    return {str(log.relative_to(store.root)): "holds another program's changes" for log in logs}


def _companions(store: Store) -> set[str]:
    """Return the companion shards that the published manifest names."""
    if not store.manifest.is_file() or sound_hash(store) is None:
        return set()
    with suppress(duckdb.Error), open_guarded(store.manifest) as con:
        return {x for (x,) in con.execute("SELECT DISTINCT shard FROM feature_samples").fetchall()}
    return set()


def _move(store: Store, damaged: dict[str, str]) -> dict[str, str]:
    """Move damaged files away, shards with their sidecars; return what is gone with the reason."""
    moved = {}
    for name, reason in damaged.items():
        path = store.root / name
        if name.startswith("shards/"):
            shard = shard_of(Path(name)) if name.endswith(".parquet") else name
            set_aside(store, [shard])
            of_sidecar = f"and its sidecar: {path.name} {reason}"
            moved[shard] = reason if shard == name else of_sidecar
            moved.pop(sidecar_of(shard), None)
        elif name.startswith("snapshots/"):
            move_aside(store, [path.with_suffix(".duckdb"), path.with_suffix(".json")])
            moved[name] = reason
        elif os.path.lexists(path) and name.startswith(("ledger/", "reports/", "raw/")):
            move_aside(store, [path])
            moved[name] = reason
    return moved


def _report_commands(store: Store, moved: Iterable[str]) -> list[str]:
    names = [Path(name).stem for name in moved if name.startswith("reports/")]
    return [commands.avstore("report", name, store=store.root) for name in names]
