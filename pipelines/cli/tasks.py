"""avstore tasks: list, show, check, plot and add task streams."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests import commands
from avstore.manifests.names import check_name
from avstore.manifests.store import StoreError, find_store
from avstore.manifests.terminal import console, plural
from avstore.pipelines.cli.completion import stream_names
from avstore.pipelines.cli.options import (
    DEFAULT_STORE,
    ExitCode,
    JsonOption,
    StoreOption,
    WaitOption,
)
from avstore.pipelines.cli.tables import Row, print_json, print_rows

if TYPE_CHECKING:
    from avstore.manifests.task_report import TaskReport, TaskSize

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, show, check, plot and add task streams."
)
_StreamArgument = Annotated[
    str, typer.Argument(help="Name of a stream in the store.", autocompletion=stream_names)
]


@app.command("list", epilog="Example: avstore tasks list --store data")
def list_streams(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the shipped streams, and the streams in the store."""
    from avstore.datasets.registry import stream_names
    from avstore.pipelines.build.task_streams import load_stream

    stored = _task_counts(store)
    shipped = {name: load_stream(name) for name in stream_names()}
    rows: list[Row] = [
        _stream_row(name, stream.title, len(stream.tasks), name in stored)
        for name, stream in shipped.items()
    ]
    own = sorted(stored.keys() - shipped.keys())
    rows += [_stream_row(name, "", stored[name], True) for name in own]
    columns = {"stream": "stream", "title": "title", "tasks": "tasks", "stored": "in the store"}
    print_rows(rows, columns, as_json)


def _stream_row(stream: str, title: str, tasks: int, stored: bool) -> Row:
    return {"stream": stream, "title": title, "tasks": tasks, "stored": stored}


@app.command("show", epilog="Example: avstore tasks show vggsound-8 --queries")
def show(
    stream: _StreamArgument,
    store: StoreOption = DEFAULT_STORE,
    queries: Annotated[
        bool, typer.Option("--queries", help="Print the SQL of each task instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Count the stored and published clips of each task and role, in the stream's order."""
    from avstore.manifests.catalogue import reading
    from avstore.manifests.task_report import registered_queries

    if queries:
        with reading(find_store(store)) as con, _naming_add(store, stream):
            found = registered_queries(con, stream)
        if as_json:
            keys = ("position", "task", "role", "query")
            print_json(dict(zip(keys, row, strict=True)) for row in found)
            return
        for position, task, role, query in found:
            console().print(f"-- {position} {task}, {role}\n{query};\n")
        return
    columns = ("position", "task", "role", "stored", "published", "classes")
    print_rows(map(asdict, _report(store, stream).sizes), columns, as_json)


@app.command("check", epilog="Example: avstore tasks check vggsound-8")
def check(
    stream: _StreamArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Check a stream: missing clips and reasons, class balance, overlaps.

    Exit code 1 if tasks share clips.
    """
    found = _report(store, stream)
    rows = [
        asdict(size) | {"missing": size.missing, "per_class": _range(size)} for size in found.sizes
    ]
    if as_json:
        print_json([*rows, *map(asdict, found.overlaps)])
    else:
        headers = {"per_class": "per class", "why": "reasons"}
        keys = ("position", "task", "role", "stored", "missing", "classes", "per_class", "why")
        print_rows(rows, {key: headers.get(key, key) for key in keys})
        _print_overlaps(found)
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)


def _print_overlaps(found: "TaskReport") -> None:
    out = console()
    for overlap in found.overlaps:
        out.print(f"{overlap.count} {overlap.kind} in both {overlap.first} and {overlap.second}")
    if not found.problems:
        out.print(f"no clip of {found.stream} is in two tasks, or in train and another role")


@app.command("plot", epilog="Example: avstore tasks plot vggsound-8 --output sizes.svg")
def plot(
    stream: _StreamArgument,
    store: StoreOption = DEFAULT_STORE,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Output file: PNG, SVG or PDF (default: STORE/reports/tasks-STREAM.png)."
        ),
    ] = None,
) -> None:
    """Draw the sizes of a stream's tasks."""
    from avstore.pipelines.report.task_plot import plot_tasks

    path = output or find_store(store).reports / f"tasks-{check_name('stream', stream)}.png"
    plot_tasks(_report(store, stream), path)
    console().print(str(path))


@app.command("add", epilog="Example: avstore tasks add vggsound-ci")
def add(
    stream: Annotated[
        str,
        typer.Argument(help="Name of a shipped stream, or TOML file.", autocompletion=stream_names),
    ],
    store: StoreOption = DEFAULT_STORE,
    wait: WaitOption = 0.0,
) -> None:
    """Add a stream to the store's manifest; an older stream of its name is replaced."""
    from avstore.manifests import ledger, tasks
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.ingest import transaction
    from avstore.manifests.lock import writing
    from avstore.pipelines.build.task_streams import load_stream

    found = find_store(store)
    loaded = load_stream(stream, store=found)
    with writing(found, wait), open_write(found) as writer:
        with transaction(writer.con):
            tasks.register_stream(writer.con, loaded)
            tasks.create_task_view(writer.con)
        ledger.save_table(writer.con, found, "tasks")
        writer.publish()
    console().print(f"stream {loaded.name}: {plural(len(loaded.tasks), 'task')}")


def _task_counts(store: Path) -> dict[str, int]:
    """Return the number of tasks of each stream in the store; none where there is no store."""
    from avstore.manifests.catalogue import reading

    try:
        with reading(find_store(store)) as con:
            return dict(
                con.execute(
                    "SELECT stream, count(DISTINCT position) FROM tasks GROUP BY stream"
                ).fetchall()
            )
    except StoreError:
        return {}


def _report(store: Path, stream: str) -> "TaskReport":
    from avstore.manifests.catalogue import reading
    from avstore.manifests.task_report import report_stream

    with reading(find_store(store)) as con, _naming_add(store, stream):
        return report_stream(con, stream)


@contextmanager
def _naming_add(store: Path, stream: str) -> Iterator[None]:
    """Say how a shipped stream is added, where the store does not have it."""
    from avstore.datasets.registry import stream_names
    from avstore.manifests.streams import StreamError

    try:
        yield
    except StreamError as error:
        if stream not in stream_names():
            raise
        add = commands.avstore("tasks", "add", stream, store=store)
        raise StreamError(f"{error}; to add it, run {add}") from error


def _range(size: "TaskSize") -> str:
    return f"{size.fewest}" if size.fewest == size.most else f"{size.fewest} to {size.most}"
