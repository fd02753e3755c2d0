"""avstore batch: show the batches of a training run."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import JsonOption
from avstore.pipelines.cli.tables import print_rows

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Show the batches of a training run."
)


@app.callback()
def _group() -> None:
    """Keep `show` a subcommand; Typer makes an only command the group itself."""


@app.command("show", epilog="Example: avstore batch show runs/first --step 100")
def show(
    run: Annotated[Path, typer.Argument(help="Folder of the run (--out of train/run.py).")],
    step: Annotated[int, typer.Option(help="Step, counted from 0 over the whole run.")],
    store: Annotated[
        str | None,
        typer.Option("--store", help="Store, if it has moved (default: as recorded in the run)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the clips of one batch in order, with the shard, offset and members read for each."""
    from avstore.train import batch_show

    rows = batch_show.batch_samples(run, step, store)
    if not as_json:
        console().print(f"task {rows[0]['task']}, epoch {rows[0]['epoch'] + 1}")
    headers = {"clip_id": "clip"}
    keys = ("clip_id", "labels", "shard", "offset", "members")
    print_rows(rows, {key: headers.get(key, key) for key in keys}, as_json)
