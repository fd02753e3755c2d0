"""avstore snapshot: named, immutable states of the manifest."""

from typing import Annotated

import duckdb
import typer
from rich.table import Table

from avstore.manifests import snapshots
from avstore.manifests.store import StoreError, find_store
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption
from avstore.pipelines.cli.progress import console

app = typer.Typer(no_args_is_help=True, help="Named, immutable states of the manifest.")
_Name = Annotated[str, typer.Argument(help="The snapshot's name.")]


@app.command("create")
def create(
    name: _Name,
    store: StoreOption = DEFAULT_STORE,
    note: Annotated[str, typer.Option(help="What it is for: a paper, a run.")] = "",
) -> None:
    """Keep the manifest as it is now; gc keeps the shards it names."""
    made = snapshots.create_snapshot(find_store(store), name, note)
    console().print(
        f"snapshot {made.name}: {made.clips} clips, {made.samples} samples in {made.shards} shards "
        f"({made.bytes / 1e6:.1f} MB, sha256 {made.sha256[:12]}…)"
    )


@app.command("list")
def list_(store: StoreOption = DEFAULT_STORE) -> None:
    """Every snapshot, the oldest first."""
    table = Table("name", "created", "clips", "samples", "shards", "sha256", "note", box=None)
    for s in snapshots.list_snapshots(find_store(store)):
        counts = (str(s.clips), str(s.samples), str(s.shards))
        table.add_row(s.name, s.created_at, *counts, s.sha256[:12], s.note)
    console().print(table)


@app.command("diff")
def diff(
    old: _Name,
    new: Annotated[str | None, typer.Argument(help="Another one; none: the manifest.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """What was added, removed or changed from one state to another."""
    table = Table("", "added", "removed", "changed", "for example", box=None)
    for d in snapshots.diff_snapshots(find_store(store), old, new):
        table.add_row(d.what, str(d.added), str(d.removed), str(d.changed), ", ".join(d.examples))
    console().print(table)


@app.command("open")
def open_(
    name: _Name,
    query: Annotated[str, typer.Argument(help="SQL over that state.")] = "SELECT * FROM account",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Ask a snapshot; without a query, its account and the file to open yourself."""
    path = snapshots.snapshot_path(find_store(store), name)
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            cursor = con.execute(query)
            columns = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
    except duckdb.Error as error:
        raise StoreError(f"the query failed: {error}") from error
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out = console()
    out.print(table)
    out.print(f"{path} (open it read-only)")
