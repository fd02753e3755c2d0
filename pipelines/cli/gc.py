"""avstore gc: list and remove the files that no manifest row or snapshot needs."""

from collections import Counter
from typing import Annotated

import typer

from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption, WaitOption

app = typer.Typer(add_completion=False)


@app.command("gc", epilog="Example: avstore gc --store data --delete")
def run(
    store: StoreOption = DEFAULT_STORE,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the files (default: only list them).")
    ] = False,
    wait: WaitOption = 0.0,
) -> None:
    """List, or with --delete remove, files that neither manifest nor snapshot needs.

    Refused while a build is running, because its newest files are not in the manifest yet.
    """
    from avstore.manifests.catalogue import reading
    from avstore.manifests.gc import collect_garbage, find_garbage
    from avstore.manifests.lock import writing
    from avstore.manifests.store import find_store

    out = console()
    found = find_store(store)
    with writing(found, wait):
        with reading(found) as con:
            items = find_garbage(con, found)
        for item in items:
            out.print(f"{item.path}  {item.bytes} bytes  {item.why}")
        total = sum(item.bytes for item in items)
        if delete:
            collect_garbage(found, items)
    kinds = Counter(item.why for item in items)
    out.print(f"{len(items)} files, {total / 1e6:.1f} MB" + (":" if kinds else ""))
    for why, count in sorted(kinds.items()):
        out.print(f"  {count:>7} {why}")
    if items:
        out.print("removed" if delete else "nothing was removed; to remove: avstore gc --delete")
