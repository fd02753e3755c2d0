"""avstore availability: export and compare which published clips are available."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, StoredDatasetArgument, StoreOption

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Export and compare which published clips are available.",
)


@app.command("export", epilog="Example: avstore availability export vggsound ours.parquet")
def export(
    dataset: StoredDatasetArgument,
    target: Annotated[Path, typer.Argument(help="Output file, .csv or .parquet.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write id, status, date and sha256 of every published clip."""
    from avstore.manifests.catalogue import reading
    from avstore.manifests.store import find_store
    from avstore.pipelines.fetch.availability import export_availability

    with reading(find_store(store)) as con:
        count = export_availability(con, dataset, target)
    console().print(f"{count:,} clips written to {target}")


@app.command("compare", epilog="Example: avstore availability compare ours.parquet theirs.csv")
def compare(
    a: Annotated[Path, typer.Argument(help="Exported file, .csv or .parquet.")],
    b: Annotated[Path, typer.Argument(help="Exported file to compare it with.")],
    classes: Annotated[int, typer.Option(min=0, help="Classes to list.")] = 10,
) -> None:
    """Compare the clips of two labs, and the effect on the balance of classes."""
    from avstore.pipelines.fetch.availability import compare_availability, describe_comparison

    out = console()
    for line in describe_comparison(compare_availability(a, b), a.name, b.name, classes):
        out.print(line)
