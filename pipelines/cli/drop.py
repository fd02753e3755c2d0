"""avstore drop: remove the shards of a recipe from the manifest."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    StoredDatasetArgument,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(add_completion=False)


@app.command("drop", epilog="Example: avstore drop vggsound stella-76b14654 --store data")
def run(
    dataset: StoredDatasetArgument,
    stage: Annotated[
        str, typer.Argument(help="Recipe and fingerprint, as `avstore status` shows them.")
    ],
    store: StoreOption = DEFAULT_STORE,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Drop a recipe's shards, and features computed from them, from the manifest.

    The files stay until `avstore gc --delete`.
    """
    from avstore.manifests import ledger
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.drop import drop_stage
    from avstore.manifests.lock import writing
    from avstore.manifests.store import find_store
    from avstore.pipelines.build.recovery import recover

    found = find_store(store)
    facts = ledger.new_run("drop", {"dataset": dataset, "stage": stage})
    with writing(found, wait), open_write(found) as writer:
        recover(writer, found)
        count = drop_stage(writer, found, dataset, stage)
        ledger.finish_run(writer.con, found, facts, "done")
        writer.publish()
    if as_json:
        print_json([{"dataset": dataset, "stage": stage, "shards": count}])
    else:
        print_dropped(count, f"{dataset} {stage}", found.root)


def print_dropped(shards: int, of: str, store: Path) -> None:
    """Print how many shards were dropped, and the command that removes their files."""
    what = f"{plural(shards, 'shard')} of {of} dropped; to remove the files, run"
    console().print(f"{what}\n  {commands.avstore('gc', '--delete', store=store)}")
