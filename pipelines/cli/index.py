"""avstore index: rebuild the manifest from the store's files."""

from collections.abc import Container
from pathlib import Path

import typer
from rich.text import Text

from avstore.manifests.store import Store, StoreError, remove_temporaries
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption, WaitOption

app = typer.Typer(add_completion=False)


@app.command("index", epilog="Example: avstore index --store data")
def run(store: StoreOption = DEFAULT_STORE, wait: WaitOption = 0.0) -> None:
    """Rebuild manifest.duckdb from the sidecars and the ledger.

    The contents stay the same. Shards that are missing or have an unreadable sidecar are left out
    and listed; exit code 1.
    """
    from avstore.manifests.lock import writing
    from avstore.manifests.repair import unusable_sidecars

    out, found = console(), Store(store)
    if not found.ledger.is_dir():
        raise StoreError(f"{store} is not a store: it has no ledger; give one with --store")
    with writing(found, wait):
        left_out = unusable_sidecars(found, [*found.sidecars(), *found.feature_sidecars()])
        count = rebuild_manifest(found, left_out)
    for sidecar, reason in left_out.items():
        name = str(sidecar.relative_to(found.root))
        out.print(Text.assemble((name, "red"), f" {reason}; left out"))
    out.print(f"{found.manifest} rebuilt from {count} sidecars and the ledger")
    if left_out:
        out.print("run the same build (or avstore features build) again to write them again")
        raise typer.Exit(ExitCode.PROBLEM)


def rebuild_manifest(store: Store, without: Container[Path] = ()) -> int:
    """Write a store's manifest again; the caller holds the writer's lock.

    Args:
        store: The store.
        without: Sidecars to leave out.

    Returns:
        The number of sidecars read.
    """
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.rebuild import rebuild
    from avstore.manifests.tasks import create_task_view
    from avstore.pipelines.fetch.attempt_log import recover_attempts

    with open_write(store, fresh=True) as writer:
        remove_temporaries(store)
        recover_attempts(store.root)
        run_facts = ledger.new_run("index", {})
        count = rebuild(writer, store, without)
        create_task_view(writer.con)
        ledger.finish_run(writer.con, store, run_facts, "done")
        writer.publish()
    return count
