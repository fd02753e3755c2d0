"""avstore datasets: which there are, and what is to be known of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from avstore.datasets import registry
from avstore.datasets.spec import DatasetSpec
from avstore.manifests.library import open_store
from avstore.manifests.store import StoreError, write_text
from avstore.pipelines.cli.progress import console
from avstore.pipelines.interchange.data_card import manifest_counts, page

app = typer.Typer(no_args_is_help=True, help="Datasets: list, card.")


@app.command("list")
def listing() -> None:
    """The datasets that are known by name, and their streams."""
    table = Table("dataset", "title", "classes", "recipe", "streams", box=None)
    for name in registry.names():
        spec = registry.get(name)
        classes = str(len(spec.vocabulary()))
        table.add_row(name, spec.title, classes, spec.recipe, ", ".join(spec.streams))
    console().print(table)


@app.command("card")
def card(
    dataset: Annotated[str, typer.Argument(help="A name, or module:NAME.")],
    store: Annotated[Path | None, typer.Option("--store", help="A store, for counts.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A file; else it is printed.")] = None,
) -> None:
    """What a dataset is, where from, under which licence, with what defects.

    With a store, also how many of its clips are there.
    """
    spec = registry.get(dataset)
    text = page(spec, _counts(store, spec))
    if out is None:
        typer.echo(text, nl=False)
    else:
        console().print(str(write_text(out, text)), markup=False)


def _counts(store: Path | None, spec: DatasetSpec) -> Mapping[str, Mapping[str, int]] | None:
    if store is None:
        return None
    with open_store(str(store)) as opened:
        found = manifest_counts(opened, spec.name)
    if not found:
        raise StoreError(f"{store} holds no clips of {spec.name}; build it first")
    return found
