"""avstore tasks: what streams there are, what is in them, and whether they are in order."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from avstore.datasets.registry import stream_names
from avstore.manifests import ledger
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.ingest import transaction
from avstore.manifests.lock import writing
from avstore.manifests.store import StoreError, find_store
from avstore.manifests.task_report import TaskSize, registered_queries, report_stream
from avstore.manifests.tasks import create_task_view, register_stream
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption
from avstore.pipelines.cli.progress import console
from avstore.pipelines.report.task_plot import plot_tasks

app = typer.Typer(no_args_is_help=True, help="Task streams: list, show, check, plot, add.")
StreamArgument = Annotated[str, typer.Argument(help="A stream of the store, by name.")]


@app.command("list")
def list_streams(store: StoreOption = DEFAULT_STORE) -> None:
    """The streams that are shipped, and those that the store has."""
    try:
        with open_read(find_store(store)) as con:
            there = dict(
                con.execute(
                    "SELECT stream, count(DISTINCT position) FROM tasks GROUP BY stream"
                ).fetchall()
            )
    except StoreError:
        there = {}
    shipped = {name: load_stream(name) for name in stream_names()}
    rows = [
        (name, shipped[name].title, len(shipped[name].tasks), "yes" if name in there else "")
        for name in shipped
    ]
    rows += [(name, "", there[name], "yes") for name in sorted(there.keys() - shipped.keys())]
    _print(("stream", "title", "tasks", "in the store"), rows)


@app.command("show")
def show(
    stream: StreamArgument,
    store: StoreOption = DEFAULT_STORE,
    queries: Annotated[bool, typer.Option("--queries", help="The SQL of each task.")] = False,
) -> None:
    """A stream's tasks in order: how many clips each role has, and how many are missing."""
    with open_read(find_store(store)) as con:
        if queries:
            for position, task, role, query in registered_queries(con, stream):
                console().print(f"-- {position} {task}, {role}\n{query};\n", markup=False)
            return
        found = report_stream(con, stream)
    _print(
        ("position", "task", "role", "stored", "published", "classes"),
        [(s.position, s.task, s.role, s.stored, s.published, s.classes) for s in found.sizes],
    )


@app.command("check")
def check(stream: StreamArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Sizes, what is missing and why, class balance, overlaps. Exit code 1 where clips overlap."""
    with open_read(find_store(store)) as con:
        found = report_stream(con, stream)
    _print(
        ("position", "task", "role", "stored", "missing", "classes", "a class", "why missing"),
        [
            (s.position, s.task, s.role, s.stored, s.missing, s.classes, _range(s), s.why)
            for s in found.sizes
        ],
    )
    out = console()
    for overlap in found.overlaps:
        out.print(f"{overlap.count} {overlap.kind} in both {overlap.first} and {overlap.second}")
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)
    out.print(f"no clip of {stream} is in two tasks, nor in train and in another role")


@app.command("plot")
def plot(
    stream: StreamArgument,
    store: StoreOption = DEFAULT_STORE,
    output: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF.")] = None,
) -> None:
    """Draw the sizes of a stream's tasks (default: into the store's reports)."""
    place = find_store(store)
    with open_read(place) as con:
        found = report_stream(con, stream)
    path = output or place.reports / f"tasks-{stream}.png"
    plot_tasks(found, path)
    console().print(str(path), markup=False)


@app.command("add")
def add(
    stream: Annotated[str, typer.Argument(help="A shipped stream's name, or a TOML file.")],
    store: StoreOption = DEFAULT_STORE,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for another writer; -1: for ever.")
    ] = 0.0,
) -> None:
    """Put a stream into the store's manifest, in place of an older one of its name."""
    loaded = load_stream(stream)
    place = find_store(store)
    with writing(place, wait), open_write(place) as writer:
        with transaction(writer.con):
            register_stream(writer.con, loaded)
            create_task_view(writer.con)
        ledger.save_table(writer.con, place, "tasks")
        writer.publish()
    console().print(f"stream {loaded.name}: {len(loaded.tasks)} tasks")


def _range(size: TaskSize) -> str:
    return f"{size.fewest}" if size.fewest == size.most else f"{size.fewest} to {size.most}"


def _print(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    table = Table(*header, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table)
