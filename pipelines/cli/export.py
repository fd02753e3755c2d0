"""avstore export: write the clips of a query as a self-contained dataset."""

from typing import Annotated, Literal

import typer

from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import DEFAULT_STORE, AddressOption, ClipsRecipeOption

app = typer.Typer(add_completion=False)


@app.command(
    "export",
    epilog='Example: avstore export --sql "FROM trainable" --out subset --features waveform,fbank',
)
def run(
    sql: Annotated[str, typer.Option("--sql", help="Query with a column clip_id.")],
    out: Annotated[str, typer.Option("--out", help="Output: an empty folder, or an fsspec URL.")],
    features: Annotated[
        str | None,
        typer.Option(
            help="Members to export, separated by commas: frames, video, waveform, fbank, json, "
            "derived features (default: the first four, as far as stored)."
        ),
    ] = None,
    output: Annotated[
        Literal["webdataset", "parquet", "folders"], typer.Option("--format", help="Output format.")
    ] = "webdataset",
    store: AddressOption = str(DEFAULT_STORE),
    recipe: ClipsRecipeOption = None,
    shard_clips: Annotated[int, typer.Option(min=1, help="Clips per file.")] = 1000,
    snapshot: Annotated[
        str | None, typer.Option(help="Snapshot to export from (default: the manifest).")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option(help="Skip and count clips that are not stored.")
    ] = False,
) -> None:
    """Export the clips of a query as a self-contained dataset.

    All columns of the query are kept.
    """
    from avstore.manifests.library import open_store
    from avstore.pipelines.interchange.export import ExportFormat, export

    names = None
    if features is not None:
        names = [name.strip() for name in features.split(",") if name.strip()]
    with open_store(store, snapshot=snapshot) as opened:
        done = export(
            opened, sql, names, out, ExportFormat(output), recipe, shard_clips, skip_missing
        )
    note = f", {plural(done.skipped, 'clip')} left out (not stored)" if done.skipped else ""
    clips, files = plural(done.clips, "clip"), plural(done.files, "file")
    console().print(f"{clips} in {files}, {done.bytes / 1e6:.1f} MB{note}")
