"""avstore tasks: list, show, check, plot and add task streams."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from avstore.manifests.names import check_name
from avstore.manifests.store import StoreError, find_store
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import DEFAULT_STORE, ExitCode, StoreOption, WaitOption

if TYPE_CHECKING:
    from avstore.manifests.task_report import TaskReport, TaskSize

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, show, check, plot and add task streams."
)
_StreamArgument = Annotated[str, typer.Argument(help="Name of a stream in the store.")]


@app.command("list", epilog="Example: avstore tasks list --store data")
def list_streams(store: StoreOption = DEFAULT_STORE) -> None:
    """List the shipped streams, and the streams in the store."""
    from avstore.datasets.registry import stream_names
    from avstore.pipelines.build.task_streams import load_stream

    stored = _task_counts(store)
    shipped = {name: load_stream(name) for name in stream_names()}
    rows = [
        (name, stream.title, len(stream.tasks), "yes" if name in stored else "")
        for name, stream in shipped.items()
    ]
    rows += [(name, "", stored[name], "yes") for name in sorted(stored.keys() - shipped.keys())]
    _print(("stream", "title", "tasks", "in the store"), rows)


@app.command("show", epilog="Example: avstore tasks show vggsound-8 --queries")
def show(
    stream: _StreamArgument,
    store: StoreOption = DEFAULT_STORE,
    queries: Annotated[
        bool, typer.Option("--queries", help="Print the SQL of each task instead.")
    ] = False,
) -> None:
    """Count the stored and published clips of each task and role, in the stream's order."""
    from avstore.manifests.catalogue import reading
    from avstore.manifests.task_report import registered_queries

    if queries:
        with reading(find_store(store)) as con:
            for position, task, role, query in registered_queries(con, stream):
                console().print(f"-- {position} {task}, {role}\n{query};\n")
        return
    _print(
        ("position", "task", "role", "stored", "published", "classes"),
        [
            (s.position, s.task, s.role, s.stored, s.published, s.classes)
            for s in _report(store, stream).sizes
        ],
    )


@app.command("check", epilog="Example: avstore tasks check vggsound-8")
def check(stream: _StreamArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Check a stream: missing clips and reasons, class balance, overlaps.

    Exit code 1 if tasks share clips.
    """
    found = _report(store, stream)
    _print(
        ("position", "task", "role", "stored", "missing", "classes", "per class", "reasons"),
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
    out.print(f"no clip of {stream} is in two tasks, or in train and another role")


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
    stream: Annotated[str, typer.Argument(help="Name of a shipped stream, or TOML file.")],
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
    console().print(f"stream {loaded.name}: {len(loaded.tasks)} tasks")


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

    with reading(find_store(store)) as con:
        return report_stream(con, stream)


def _range(size: "TaskSize") -> str:
    return f"{size.fewest}" if size.fewest == size.most else f"{size.fewest} to {size.most}"


def _print(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    table = Table(*header, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    console().print(table)
