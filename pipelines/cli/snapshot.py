"""avstore snapshot: named, immutable states of the manifest."""

from dataclasses import asdict
from typing import Annotated

import typer

from avstore.manifests.store import find_store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from avstore.pipelines.cli.tables import print_json, print_rows, print_table

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
    as_json: JsonOption = False,
) -> None:
    """Save the manifest's current state under a name; gc keeps the shards it needs."""
    from avstore.manifests import snapshots

    new = snapshots.create_snapshot(find_store(store), name, note)
    if as_json:
        print_json([asdict(new)])
        return
    counts = f"{plural(new.clips, 'clip')}, {plural(new.samples, 'sample')}"
    console().print(
        f"snapshot {new.name}: {counts} in {plural(new.shards, 'shard')} "
        f"({new.bytes / 1e6:.1f} MB, sha256 {new.sha256[:12]}…)"
    )


@app.command("list", epilog="Example: avstore snapshot list --store data")
def list_snapshots(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the snapshots, oldest first."""
    from avstore.manifests import snapshots

    columns = ("name", "created_at", "clips", "samples", "shards", "sha256", "note")
    rows = [asdict(each) for each in snapshots.list_snapshots(find_store(store))]
    shown = rows if as_json else [row | {"sha256": row["sha256"][:12]} for row in rows]
    print_rows(shown, columns, as_json)


@app.command("diff", epilog="Example: avstore snapshot diff paper")
def diff(
    old: _Name,
    new: Annotated[
        str | None, typer.Argument(help="Snapshot to compare it with (default: the manifest).")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Count what was added, removed or changed from one state to another."""
    from avstore.manifests import snapshots

    columns = {"what": "table", "added": "added", "removed": "removed", "changed": "changed"}
    rows = map(asdict, snapshots.diff_snapshots(find_store(store), old, new))
    print_rows(rows, columns | {"examples": "for example"}, as_json)


@app.command("open", epilog='Example: avstore snapshot open paper "FROM trainable LIMIT 5"')
def query_snapshot(
    name: _Name,
    query: Annotated[
        str, typer.Argument(help="SQL over the snapshot's tables and views.")
    ] = "SELECT * FROM account",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
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
    if as_json:
        print_json(dict(zip(columns, row, strict=True)) for row in rows)
        return
    print_table(columns, [["" if value is None else str(value) for value in row] for row in rows])
    console().print(f"{path} (open it read-only)")
