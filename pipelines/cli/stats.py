"""avstore stats: compute the fbank statistics of a dataset."""

from dataclasses import asdict
from typing import Annotated

import typer

from avstore.manifests.store import StoreError
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ClipsRecipeOption,
    JsonOption,
    StoredDatasetArgument,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.progress import bar
from avstore.pipelines.cli.tables import print_json

app = typer.Typer(add_completion=False)


@app.command("stats", epilog="Example: avstore stats vggsound --store data")
def run(
    dataset: StoredDatasetArgument,
    store: StoreOption = DEFAULT_STORE,
    sql: Annotated[
        str | None,
        typer.Option("--sql", help="Query with a column clip_id (default: the training split)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the statistics (default: DATASET-store).")
    ] = None,
    recipe: ClipsRecipeOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compute the mean and standard deviation of a dataset's fbanks.

    They are computed from the shards and saved in the manifest.
    """
    from avstore.manifests import statistics
    from avstore.manifests.account import require_dataset
    from avstore.manifests.ledger import now
    from avstore.manifests.streams import sql_literal
    from avstore.pipelines.cli.next_steps import training_command
    from avstore.pipelines.cli.own_data import find_spec
    from avstore.train import data

    opened = data.open_store(store)
    with opened.connect() as con:
        require_dataset(con, dataset)
    query = sql or (
        f"SELECT clip_id FROM trainable WHERE dataset = {sql_literal(dataset)} AND split = 'train'"
    )
    samples = data.sample_list(opened, query, recipe=recipe)
    stages = dict(samples.stages)
    if dataset not in stages:
        raise StoreError(f"the query selects no clip of {dataset}, but of {', '.join(stages)}")
    with bar(console(), "statistics", len(samples)) as advance:
        found = data.fbank_statistics(samples, advance)
    saved = statistics.Statistics(
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
    statistics.save_statistics(opened.paths, saved, wait)
    if as_json:
        print_json([asdict(saved)])
        return
    console().print(
        f"{saved.name}: mean {saved.mean:.4f}, std {saved.std:.4f} over {saved.frames} frames of "
        f"{plural(saved.clips, 'clip')}"
    )
    spec = find_spec(dataset, opened.paths)
    with opened.connect() as con:
        folder = f"runs/{saved.name}"  # the default folder may hold a run without them
        words = ("--set", f"data.statistics={saved.name}", "--out", folder)
        if line := training_command(con, opened.paths, spec, *words):
            console().print(f"\nNext:\n  {line}")
