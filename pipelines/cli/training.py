"""avstore batch, avstore stats: the loader's commands. What they do is in `train`, which is
imported when they run: it brings torch, and nothing else here needs it."""

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from avstore.manifests import statistics
from avstore.manifests.ledger import now
from avstore.manifests.store import StoreError
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import bar, console

app = typer.Typer(no_args_is_help=True, help="Batches of a training run: show.")


@app.callback()
def _group() -> None:
    """Batches of a training run."""


@app.command("show")
def show(
    run: Annotated[Path, typer.Argument(help="The run's folder (--out of train/run.py).")],
    step: Annotated[int, typer.Option(help="Step of the whole run, from 0.")],
    store: Annotated[str | None, typer.Option("--store", help="Where the store is now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """The clips of any step of a run, in order: where they lie, what is read of them."""
    rows = import_module("avstore.train.batch_show").batch_samples(run, step, store)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    table = Table("clip", "labels", "shard", "offset", "members", box=None)
    for row in rows:
        labels, members = ", ".join(map(str, row["labels"])), " ".join(row["members"])
        table.add_row(row["clip_id"], labels, row["shard"], str(row["offset"]), members)
    console().print(f"task {rows[0]['task']}, epoch {rows[0]['epoch'] + 1}", markup=False)
    console().print(table)


def stats(
    dataset: Annotated[str, typer.Argument(help="Whose clips, if there is no --sql.")],
    store: StoreOption = DEFAULT_STORE,
    sql: Annotated[
        str | None, typer.Option("--sql", help="Clips (column clip_id); else the training split.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="To keep them by; else DATASET-store.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Where several have the clips.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another writer.")] = 0.0,
) -> None:
    """Mean and standard deviation of the fbanks, computed from the shards, kept in the manifest."""
    data = import_module("avstore.train.data")
    opened = data.open_store(store)
    query = sql or (
        f"SELECT clip_id FROM trainable WHERE dataset = '{dataset}' AND split = 'train'"
    )
    samples = data.sample_list(opened, query, recipe=recipe)
    stages = dict(samples.stages)
    if dataset not in stages:
        raise StoreError(f"the query names no clip of {dataset}, but of {', '.join(stages)}")
    with bar(console(), "statistics", len(samples)) as advance:
        found = data.fbank_statistics(samples, advance)
    kept = statistics.Statistics(
        name or f"{dataset}-store",
        dataset,
        stages[dataset],
        query,
        len(samples),
        found.frames,
        found.mean,
        found.std,
        samples.fingerprint,
        now(),
    )
    statistics.save_statistics(opened.paths, kept, wait)
    console().print(
        f"{kept.name}: mean {kept.mean:.4f}, std {kept.std:.4f} over {kept.frames} frames of "
        f"{kept.clips} clips\ntrain/run.py --set data.statistics={kept.name}"
    )
