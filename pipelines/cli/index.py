"""avstore index: rebuild the manifest from the store's files."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.text import Text

from avstore.manifests.store import Store, StoreError, remove_temporaries
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ExitCode,
    JsonOption,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(add_completion=False)


@app.command("index", epilog="Example: avstore index --store data")
def run(
    store: StoreOption = DEFAULT_STORE, wait: WaitOption = 0.0, as_json: JsonOption = False
) -> None:
    """Rebuild manifest.duckdb from the sidecars and the ledger.

    The contents stay the same. Files that are damaged, and sidecars whose shard is missing, are
    left out and listed; exit code 1. Files of older versions get a seal.
    """
    from avstore.manifests.lock import writing
    from avstore.manifests.repair import unusable_sidecars

    out, found = console(), Store(store)
    if not found.ledger.is_dir():
        raise StoreError(f"{store} is not a store: it has no ledger; give one with --store")
    with writing(found, wait):
        left_out = unusable_sidecars(found, [*found.sidecars(), *found.feature_sidecars()])
        done = rebuild_manifest(found, left_out)
    lost = left_out | done.damage
    if as_json:
        names = {str(path.relative_to(found.root)): reason for path, reason in lost.items()}
        print_json([{"sidecars": done.sidecars, "sealed": done.sealed, "left_out": names}])
        raise typer.Exit(ExitCode.PROBLEM if lost else ExitCode.OK)
    for path, reason in lost.items():
        name = str(path.relative_to(found.root))
        out.print(Text.assemble((name, "red"), f" {reason}; left out"))
    if done.sealed:
        out.print(f"{plural(done.sealed, 'file')} of an older version sealed")
    out.print(f"{found.manifest} rebuilt from {plural(done.sidecars, 'sidecar')} and the ledger")
    if lost:
        out.print("run the same build, or features build, again to write them again")
        raise typer.Exit(ExitCode.PROBLEM)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild of the manifest did.

    Attributes:
        sidecars: Number of base sidecars read.
        damage: Damaged files, which were left out, with the reason.
        sealed: Number of files of older versions that were sealed.
    """

    sidecars: int
    damage: dict[Path, str]
    sealed: int


def rebuild_manifest(store: Store, without: Container[Path] = ()) -> Rebuilt:
    """Write a store's manifest again; the caller holds the writer's lock.

    Damaged files of the ledger are moved to STORE/damaged.

    Args:
        store: The store.
        without: Sidecars to leave out.
    """
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.inventory import indexed_files, other_files, seal_older_files
    from avstore.manifests.rebuild import rebuild
    from avstore.manifests.repair import move_aside
    from avstore.manifests.sealed import check_files
    from avstore.manifests.tasks import create_task_view
    from avstore.pipelines.fetch.attempt_log import recover_attempts

    with open_write(store, fresh=True) as writer:
        remove_temporaries(store)
        recover_attempts(store.root)
        run_facts = ledger.new_run("index", {})
        indexed, others = check_files(indexed_files(store)), check_files(other_files(store))
        checked = seal_older_files(indexed)
        seal_older_files(others)
        count = rebuild(writer, store, without, checked)
        create_task_view(writer.con)
        tables = [store.ledger / f"{name}.parquet" for name in ledger.SMALL_TABLES]
        tables = [path for path in tables if path in checked.damage]
        move_aside(store, tables)
        for path in tables:
            ledger.save_table(writer.con, store, path.stem)
        ledger.finish_run(writer.con, store, run_facts, "done")
        writer.publish()
        rest = checked.damage.keys() - set(tables)
        move_aside(store, (path for path in rest if path.is_relative_to(store.ledger)))
    return Rebuilt(count, checked.damage, len(indexed.unsealed) + len(others.unsealed))
