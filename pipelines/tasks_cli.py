"""avstore tasks: the task streams of a store."""

from typing import Annotated

import typer
from rich.table import Table

from manifests.catalogue import open_read
from manifests.store import StoreError, find_store
from pipelines.commands.options import DEFAULT_STORE, StoreOption
from pipelines.progress import console

app = typer.Typer(no_args_is_help=True, help="The task streams of a store.")


@app.command("list")
def list_streams(store: StoreOption = DEFAULT_STORE) -> None:
    """Every registered stream, with its tasks and clips."""
    _print(
        store,
        "SELECT stream, count(DISTINCT position) AS tasks, count(clip_id) AS clips "
        "FROM task_clips GROUP BY stream ORDER BY stream",
        [],
    )


@app.command("show")
def show(
    stream: Annotated[str, typer.Argument(help="A stream's name.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The clips of each task and role of a stream, in order."""
    _print(
        store,
        "SELECT position, task, role, count(*) AS clips FROM task_clips WHERE stream = ? "
        "GROUP BY ALL ORDER BY position, role DESC",
        [stream],
    )


def _print(store: object, query: str, values: list[str]) -> None:
    with open_read(find_store(store)) as con:  # type: ignore[arg-type]
        cursor = con.execute(query, values)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    if not rows:
        raise StoreError(f"no such stream in {store}: {' '.join(values) or 'none registered'}")
    table = Table(*names, box=None)
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table)
