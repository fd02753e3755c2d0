"""avstore datasets: list the datasets, and print a dataset's data card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from avstore.datasets.spec import DatasetSpec
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DatasetArgument, JsonOption
from avstore.pipelines.cli.tables import print_rows

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List datasets and print their data cards."
)


@app.command("list", epilog="Example: avstore datasets list")
def list_datasets(as_json: JsonOption = False) -> None:
    """List the known datasets with their recipe and task streams."""
    from avstore.datasets import registry

    columns = ("dataset", "title", "classes", "recipe", "streams")
    rows = []
    for name in registry.names():
        spec = registry.get(name)
        values = (name, spec.title, len(spec.vocabulary()), spec.recipe, list(spec.streams))
        rows.append(dict(zip(columns, values, strict=True)))
    print_rows(rows, columns, as_json)


@app.command("card", epilog="Example: avstore datasets card vggsound --store data")
def card(
    dataset: DatasetArgument,
    store: Annotated[
        Path | None, typer.Option("--store", help="Store folder, to count stored clips.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Output file (default: standard output).")
    ] = None,
) -> None:
    """Print a dataset's data card: content, source, licence and known defects.

    With a store, the card also counts the clips in it.
    """
    from avstore.datasets import registry
    from avstore.manifests.store import Store, write_text
    from avstore.pipelines.cli.own_data import find_spec
    from avstore.pipelines.interchange.data_card import page

    spec = find_spec(dataset, Store(store)) if store else registry.get(dataset)
    text = page(spec, _counts(store, spec))
    if out is None:
        typer.echo(text, nl=False)
    else:
        console().print(str(write_text(out, text)))


def _counts(store: Path | None, spec: DatasetSpec) -> Mapping[str, Mapping[str, int]] | None:
    """Return the store's clips by split and status; None without a store."""
    if store is None:
        return None
    from avstore.manifests.library import open_store
    from avstore.manifests.store import StoreError
    from avstore.pipelines.interchange.data_card import manifest_counts

    with open_store(str(store)) as opened:
        counts = manifest_counts(opened, spec.name)
    if not counts:
        raise StoreError(f"{store} holds no clips of {spec.name}; build it first")
    return counts
