"""avstore drop: forget the shards of a recipe; gc then removes their files."""

from typing import Annotated

import typer

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_write
from avstore.manifests.drop import drop_stage
from avstore.manifests.lock import writing
from avstore.manifests.store import find_store
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import console


def run(
    dataset: Annotated[str, typer.Argument(help="vggsound, audioset, …")],
    stage: Annotated[str, typer.Argument(help="<recipe>-<fp8>, as avstore status shows it.")],
    store: StoreOption = DEFAULT_STORE,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
) -> None:
    """Drop a recipe's shards (and features computed from them) from the manifest."""
    found = find_store(store)
    facts = ledger.new_run("drop", {"dataset": dataset, "stage": stage})
    with writing(found, wait), open_write(found) as writer:
        recover(writer, found)
        count = drop_stage(writer, found, dataset, stage)
        ledger.finish_run(writer.con, found, facts, "done")
        writer.publish()
    console().print(
        f"{count} shards of {dataset} {stage} dropped; their files stay until avstore gc --delete"
    )
