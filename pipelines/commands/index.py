"""avstore index: make the manifest again from the store."""

from typing import Annotated

import typer

from manifests import ledger
from manifests.catalogue import open_write
from manifests.lock import writing
from manifests.rebuild import rebuild
from manifests.store import Store, StoreError, remove_temporaries
from manifests.tasks import create_task_view
from pipelines.commands.options import DEFAULT_STORE, StoreOption
from pipelines.fetch.ledger import recover
from pipelines.progress import console


def run(
    store: StoreOption = DEFAULT_STORE,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
) -> None:
    """Rebuild manifest.duckdb from the sidecars and the ledger, to the same contents."""
    found = Store(store)
    if not found.ledger.is_dir():
        raise StoreError(f"{store} is no store: it has no ledger; name one with --store")
    with writing(found, wait), open_write(found, fresh=True) as writer:
        remove_temporaries(found)
        recover(found.root)
        run_facts = ledger.new_run("index", {})
        count = rebuild(writer, found)
        create_task_view(writer.con)
        ledger.finish_run(writer.con, found, run_facts, "done")
        writer.publish()
    console().print(f"{found.manifest} rebuilt from {count} sidecars and the ledger")
