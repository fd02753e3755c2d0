"""avstore snapshot: named, immutable states of the manifest."""

from typing import Annotated

import typer
from rich.table import Table

from avstore.manifests.store import find_store
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, StoreOption

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Create, list, compare and query named, immutable states of the manifest.",
)
_Name = Annotated[str, typer.Argument(help="Name of the snapshot.")]


@app.command("create", epilog='Example: avstore snapshot create paper --note "Table 2"')
def create(
    name: _Name,
    store: StoreOption = DEFAULT_STORE,
    note: Annotated[str, typer.Option(help="Purpose, such as a paper or a run.")] = "",
) -> None:
    """Save the manifest's current state under a name; gc keeps the shards it needs."""
    from avstore.manifests import snapshots

    new = snapshots.create_snapshot(find_store(store), name, note)
    console().print(
        f"snapshot {new.name}: {new.clips} clips, {new.samples} samples in {new.shards} shards "
        f"({new.bytes / 1e6:.1f} MB, sha256 {new.sha256[:12]}…)"
    )


@app.command("list", epilog="Example: avstore snapshot list --store data")
def list_snapshots(store: StoreOption = DEFAULT_STORE) -> None:
    """List the snapshots, oldest first."""
    from avstore.manifests import snapshots

    table = Table("name", "created", "clips", "samples", "shards", "sha256", "note", box=None)
    for s in snapshots.list_snapshots(find_store(store)):
        counts = (str(s.clips), str(s.samples), str(s.shards))
        table.add_row(s.name, s.created_at, *counts, s.sha256[:12], s.note)
    console().print(table)


@app.command("diff", epilog="Example: avstore snapshot diff paper")
def diff(
    old: _Name,
    new: Annotated[
        str | None, typer.Argument(help="Snapshot to compare it with (default: the manifest).")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Count what was added, removed or changed from one state to another."""
    from avstore.manifests import snapshots

    table = Table("", "added", "removed", "changed", "for example", box=None)
    for d in snapshots.diff_snapshots(find_store(store), old, new):
        table.add_row(d.what, str(d.added), str(d.removed), str(d.changed), ", ".join(d.examples))
    console().print(table)


@app.command("open", epilog='Example: avstore snapshot open paper "FROM trainable LIMIT 5"')
def query_snapshot(
    name: _Name,
    query: Annotated[
        str, typer.Argument(help="SQL over the snapshot's tables and views.")
    ] = "SELECT * FROM account",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Query a snapshot, and print the path of its DuckDB file."""
    import duckdb

    from avstore.manifests import snapshots
    from avstore.manifests.catalogue import open_guarded
    from avstore.manifests.errors import query_error

    path = snapshots.snapshot_path(find_store(store), name)
    try:
        with open_guarded(path) as con:
            cursor = con.execute(query)
            columns = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
    except duckdb.Error as error:
        raise query_error(error) from error
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out = console()
    out.print(table)
    out.print(f"{path} (open it read-only)")
