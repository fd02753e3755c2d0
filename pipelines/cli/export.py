"""avstore export: any query as a data set of its own."""

from typing import Annotated

import typer

from avstore.manifests.library import open_store
from avstore.pipelines.cli.options import DEFAULT_STORE
from avstore.pipelines.cli.progress import console
from avstore.pipelines.interchange.export import ExportFormat, export


def run(
    sql: Annotated[str, typer.Option("--sql", help="A query with a column clip_id.")],
    out: Annotated[str, typer.Option("--out", help="An empty folder, or any fsspec URL.")],
    features: Annotated[
        str, typer.Option(help="By commas: frames, audio, fbank, json, derived features.")
    ] = "frames,audio,fbank",
    output: Annotated[
        ExportFormat, typer.Option("--format", help="webdataset, parquet or folders.")
    ] = ExportFormat.WEBDATASET,
    store: Annotated[
        str, typer.Option(help="The store: a folder or an fsspec URL.", envvar="AVSTORE_STORE")
    ] = str(DEFAULT_STORE),
    recipe: Annotated[str | None, typer.Option(help="Where several have the clips.")] = None,
    shard_clips: Annotated[int, typer.Option(min=1, help="Clips a file.")] = 1000,
    snapshot: Annotated[str | None, typer.Option(help="Of this state, not the present.")] = None,
    skip_missing: Annotated[
        bool, typer.Option(help="Leave out clips that are not stored, and say how many.")
    ] = False,
) -> None:
    """Write the clips of a query, with all columns of the query, as a self-contained data set."""
    names = [name.strip() for name in features.split(",") if name.strip()]
    with open_store(store, snapshot=snapshot) as opened:
        done = export(opened, sql, names, out, output, recipe, shard_clips, skip_missing)
    note = f", {done.skipped} clips left out (not stored)" if done.skipped else ""
    console().print(f"{done.clips} clips in {done.files} files, {done.bytes / 1e6:.1f} MB{note}")
