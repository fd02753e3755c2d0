"""avstore runs: list, compare, plot and query training runs."""

from pathlib import Path
from typing import Annotated

import typer

from avstore.manifests.store import StoreError, write_text
from avstore.manifests.terminal import console
from avstore.pipelines.cli.options import JsonOption
from avstore.pipelines.cli.query_output import (
    FormatOption,
    LimitOption,
    OutputOption,
    QueryArgument,
    QueryOutput,
    RowFormat,
)
from avstore.pipelines.cli.tables import print_json, print_rows, print_table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, compare, plot and query training runs."
)
_DEFAULT = Path("runs")
_RunsArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FOLDER]...", help="Folders of runs (default: runs)."),
]
_RunsOption = Annotated[
    list[Path] | None,
    typer.Option("--runs", metavar="FOLDER", help="Folder of runs (repeatable; default: runs)."),
]
_SHOWN = ("name", "method", "stream", "seed")


@app.command("list", epilog="Example: avstore runs list runs/reproduce")
def list_runs(folders: _RunsArgument = None, as_json: JsonOption = False) -> None:
    """List runs with what they were, and their scores in percent."""
    from avstore.train.runs import MEASURES, find_runs

    runs = find_runs(folders or [_DEFAULT])
    rows = [
        {"run": run.name, "finished": run.is_complete}
        | {key: run.settings.get(key, "") for key in _SHOWN}
        | {"scores": run.scores}
        for run in runs
    ]
    if as_json:
        print_json(rows)
        return
    for row, run in zip(rows, runs, strict=True):
        row["finished"] = "yes" if run.is_complete else "no"
        row |= {name: _rounded(run.scores.get(name)) for name in MEASURES}
        row["score"] = "" if run.headline is None else f"{run.shown[0]} {run.headline:.1f}"
    headers = {"run": "run", "name": "config", **{key: key for key in _SHOWN[1:]}}
    print_rows(
        rows, {**headers, "finished": "finished", **{name: name for name in (*MEASURES, "score")}}
    )


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


@app.command("compare", epilog="Example: avstore runs compare runs/reproduce --output table.tex")
def compare(
    folders: _RunsArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write: .csv, .md or .tex.")
    ] = None,
    digits: Annotated[int, typer.Option(min=0, max=6, help="Digits after the point.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Compare finished runs: the settings that differ, and each score as mean ± std over seeds.

    Runs whose settings differ in the seed only are one row.
    """
    from avstore.train import comparison
    from avstore.train.runs import find_runs

    if output and output.suffix.lower() not in comparison.WRITERS:
        raise StoreError(f"{output} does not end in .csv, .md or .tex; choose such a name")
    places = folders or [_DEFAULT]
    groups = comparison.grouped(find_runs(places))
    if not groups:
        raise StoreError(f"no run in {', '.join(map(str, places))} is finished")
    if output:
        write_text(output, comparison.WRITERS[output.suffix.lower()](groups, digits))
        console().print(str(output))
    elif as_json:
        keys = comparison.differing(groups)
        print_json(
            {"settings": {key: group.settings.get(key) for key in keys}}
            | {"seeds": group.seeds, "scores": group.scores}
            for group in groups
        )
    else:
        header, *rows = comparison.comparison_table(groups, digits)
        print_table(header, rows)


@app.command("plot", epilog="Example: avstore runs plot runs/er runs/stella --output both.png")
def plot(
    folders: _RunsArgument = None,
    output: Annotated[
        Path, typer.Option("--output", help="File to write: .png, .svg or .pdf.")
    ] = Path("runs.png"),
) -> None:
    """Draw the losses and the task matrices of several runs side by side."""
    from avstore.train.run_plots import plot_runs
    from avstore.train.runs import find_runs

    plot_runs(output, [run for run in find_runs(folders or [_DEFAULT]) if run.is_complete])
    console().print(str(output))


@app.command(
    "sql",
    epilog='Example: avstore runs sql "SELECT run, method, \\"score.average\\" FROM runs"',
)
def sql(
    query: QueryArgument,
    folders: _RunsOption = None,
    row_format: FormatOption = RowFormat.TABLE,
    as_json: JsonOption = False,
    limit: LimitOption = 100,
    output: OutputOption = None,
) -> None:
    """Run a SQL query over the tables `runs` (a row a run) and `metrics` (losses and scores).

    Settings are columns of `runs` by their dotted key, final scores `score.<name>`.
    """
    from avstore.train.runs import database, find_runs

    shown = QueryOutput(row_format, as_json, limit, output)
    with database(find_runs(folders or [_DEFAULT])) as con:
        shown.run(con, query)
