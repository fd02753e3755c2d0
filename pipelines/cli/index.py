"""avstore index: rebuild the manifest from the store's files."""

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from avstore.manifests.store import Store, StoreError
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption, WaitOption

if TYPE_CHECKING:
    from avstore.pipelines.build.repair import Repaired

app = typer.Typer(add_completion=False)


@app.command("index", epilog="Example: avstore index --store data")
def run(store: StoreOption = DEFAULT_STORE, wait: WaitOption = 0.0) -> None:
    """Rebuild manifest.duckdb from the sidecars and the ledger.

    The contents stay the same. Damaged files, and sidecars whose shard is missing, are moved to
    STORE/damaged and listed with the commands that write them again; exit code 1. Ledger files that
    are lost are written from the manifest. Files of older versions get a seal.
    """
    from avstore.manifests.lock import writing
    from avstore.pipelines.build.repair import repair_store

    out, found = console(), Store(store)
    if not found.ledger.is_dir():
        raise StoreError(f"{store} is not a store: it has no ledger; give one with --store")
    with writing(found, wait):
        done = repair_store(found)
    print_repaired(found, done, out)
    if done.moved or done.commands:
        raise typer.Exit(ExitCode.PROBLEM)


def print_repaired(store: Store, done: "Repaired", out: Console) -> None:
    """Print what a repair moved, restored and rebuilt, and the commands that complete the store."""
    for name, reason in done.moved.items():
        out.print(Text.assemble((name, "red"), f" {reason}; moved to {store.root / 'damaged'}"))
        if name.startswith("ledger/") and name.removeprefix("ledger/") not in done.restored:
            out.print(f"{name}: its rows are lost, where no other file has them")
        elif name.startswith("snapshots/"):
            out.print(f"{name}: the snapshot is lost")
    for name in done.restored:
        out.print(f"ledger/{name} was written again from the manifest")
    if done.sealed:
        out.print(f"{done.sealed} files of an older version have a seal now")
    out.print(f"{store.manifest} rebuilt from {done.sidecars} sidecars and the ledger")
    if done.commands:
        out.print("To complete the store, with the same bytes, run")
        for each in done.commands:
            out.print(f"  {each}")
