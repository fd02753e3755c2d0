"""avstore tasks: what streams there are, what is in them, and whether they are in order."""

from typing import Annotated

import typer
from rich.table import Table

from av_datasets.registry import stream_names
from manifests.catalogue import open_read
from manifests.store import find_store
from pipelines.commands.options import DEFAULT_STORE, StoreOption
from pipelines.progress import console
from pipelines.streams import load_stream

app = typer.Typer(no_args_is_help=True, help="Task streams: list, show, check, plot.")
StreamArgument = Annotated[str, typer.Argument(help="A stream's name.")]


@app.command("list")
def list_streams(store: StoreOption = DEFAULT_STORE) -> None:
    """The streams that are shipped."""
    table = Table("stream", "dataset", "tasks", "title", box=None, header_style="bold")
    for name in stream_names():
        stream = load_stream(name)
        table.add_row(name, stream.dataset or "several", str(len(stream.tasks)), stream.title)
    console().print(table)


@app.command("show")
def show(stream: StreamArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """A stream's tasks, with how many clips of each role are stored."""
    with open_read(find_store(store)) as con:
        rows = con.execute(
            "SELECT position, task, role, count(*) FROM task_clips WHERE stream = ? "
            "GROUP BY ALL ORDER BY ALL",
            [stream],
        ).fetchall()
    table = Table("position", "task", "role", "clips", box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table)
