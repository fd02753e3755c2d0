"""avstore gc: list and remove the files that no manifest row or snapshot needs."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import DEFAULT_STORE, JsonOption, StoreOption, WaitOption
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(add_completion=False)


@app.command("gc", epilog="Example: avstore gc --store data --delete")
def run(
    store: StoreOption = DEFAULT_STORE,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the files (default: only list them).")
    ] = False,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
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
        for item in () if as_json else items:
            out.print(f"{item.path}  {item.bytes} bytes  {item.why}")
        total = sum(item.bytes for item in items)
        if delete:
            collect_garbage(found, items)
    if as_json:
        print_json(asdict(item) | {"removed": delete} for item in items)
        return
    kinds = Counter(item.why for item in items)
    out.print(f"{plural(len(items), 'file')}, {total / 1e6:.1f} MB" + (":" if kinds else ""))
    for why, count in sorted(kinds.items()):
        out.print(f"  {count:>7} {why}")
    if items:
        remove = commands.avstore("gc", "--delete", store=found.root)
        out.print("removed" if delete else f"nothing was removed; to remove them, run\n  {remove}")
