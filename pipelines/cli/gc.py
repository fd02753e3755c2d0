"""avstore gc: remove what no row points at, after showing it."""

from collections import Counter
from typing import Annotated

import typer

from avstore.manifests.catalogue import open_read
from avstore.manifests.gc import collect_garbage, find_garbage
from avstore.manifests.lock import writing
from avstore.manifests.store import find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import console


def run(
    store: StoreOption = DEFAULT_STORE,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it (default: show).")] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
) -> None:
    """Show, or with --delete remove, files that neither manifest nor snapshot needs.

    Never while a build is going on: it would see files whose rows are not yet told.
    """
    out = console()
    found = find_store(store)
    with writing(found, wait):
        with open_read(found) as con:
            items = find_garbage(con, found)
        for item in items:
            out.print(f"{item.path}  {item.bytes} bytes  {item.why}", markup=False)
        total = sum(item.bytes for item in items)
        if delete:
            collect_garbage(found, items)
    kinds = Counter(item.why for item in items)
    out.print(f"{len(items)} files, {total / 1e6:.1f} MB" + (":" if kinds else ""))
    for why, count in sorted(kinds.items()):
        out.print(f"  {count:>7} {why}")
    if items:
        out.print(
            "removed" if delete else "nothing was removed; to remove them: avstore gc --delete"
        )
