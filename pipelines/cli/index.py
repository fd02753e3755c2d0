"""avstore index: make the manifest again from the store."""

from collections.abc import Container
from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.repair import unusable_sidecars
from avstore.manifests.store import Store, StoreError, remove_temporaries
from avstore.manifests.tasks import create_task_view
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import console
from avstore.pipelines.fetch.attempt_log import recover_attempts


def run(
    store: StoreOption = DEFAULT_STORE,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
) -> None:
    """Rebuild manifest.duckdb from the sidecars and the ledger, to the same contents.

    Shards whose sidecar cannot be read, or that are gone, are left out and named; exit code 1.
    """
    out, found = console(), Store(store)
    if not found.ledger.is_dir():
        raise StoreError(f"{store} is no store: it has no ledger; name one with --store")
    with writing(found, wait):
        left = unusable_sidecars(found, [*found.sidecars(), *found.feature_sidecars()])
        count = index(found, left)
    for sidecar, reason in left.items():
        out.print(f"[red]{sidecar.relative_to(found.root)}[/red] {reason}; left out")
    out.print(f"{found.manifest} rebuilt from {count} sidecars and the ledger")
    if left:
        out.print("run the same build (or avstore features build) again to make them anew")
        raise typer.Exit(ExitCode.PROBLEM)


def index(store: Store, without: Container[Path] = ()) -> int:
    """The manifest again; how many sidecars it was made from. Lock held."""
    with open_write(store, fresh=True) as writer:
        remove_temporaries(store)
        recover_attempts(store.root)
        run_facts = ledger.new_run("index", {})
        count = rebuild(writer, store, without)
        create_task_view(writer.con)
        ledger.finish_run(writer.con, store, run_facts, "done")
        writer.publish()
    return count
