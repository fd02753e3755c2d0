"""The task × task matrix of a run: its files, plot and tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from avstore.train.evaluation.forgetting import Summary, summarise
from avstore.train.results import HEADLINE, Row, matrix, write_results


@dataclass(frozen=True)
class Measure:
    """The score that a matrix shows, in percent.

    Attributes:
        subject: What is scored, for titles.
        name: The score in one or two words, for axes.
        definition: The score in full, for the table.
        shown: Metrics whose mean is shown.
        summarised: Metrics to give average and forgetting of, with their names for people.
        chance: The score of chance; None if it depends on more than the number of clips or classes.
    """

    subject: str
    name: str
    definition: str
    shown: tuple[str, ...]
    summarised: dict[str, str]
    chance: float | None

    def scores(self, rows: list[Row], tasks: list[str]) -> NDArray[np.float64]:
        """Return the matrix [trainings, tasks]."""
        means: NDArray[np.float64] = np.mean([matrix(rows, tasks, m) for m in self.shown], axis=0)
        return means

    def summaries(self, rows: list[Row], tasks: list[str]) -> dict[str, Summary]:
        """Return average and forgetting by metric."""
        return {metric: summarise(matrix(rows, tasks, metric)) for metric in self.summarised}


def retrieval_measure(chance: float) -> Measure:
    """Return the measure of retrieval, whose chance is that of the gallery."""
    directions = {"a2v": "audio→video", "v2a": "video→audio"}
    recalls = {"avg": "mean R@1/5/10", "r1": "R@1", "r5": "R@5", "r10": "R@10"}
    return Measure(
        subject="Retrieval",
        name="mean recall",
        definition="mean R@1/5/10, both directions",
        shown=HEADLINE,
        summarised={
            f"{short}_{recall}": f"{direction} {name}"
            for short, direction in directions.items()
            for recall, name in recalls.items()
        },
        chance=chance,
    )


def classification_measure(
    shown: str, metrics: Sequence[str] = ("accuracy", "top5", "map")
) -> Measure:
    """Return the measure of classification by all of a clip.

    Args:
        shown: The metric that the matrix shows.
        metrics: What there is to summarise.
    """
    names = {"accuracy": "accuracy", "top5": "top-5 accuracy", "map": "mAP"}
    return Measure(
        subject="Classification",
        name=names[shown],
        definition=names[shown],
        shown=(shown,),
        summarised={metric: names[metric] for metric in metrics if metric in names},
        chance=None,
    )


def report_matrix(
    folder: Path,
    rows: list[Row],
    tasks: list[str],
    measure: Measure,
    results: dict[str, Any],
    console: Console,
) -> None:
    """Write matrix.png, metrics.parquet, results.duckdb and results.json, and print the tables.

    Args:
        folder: Where to write.
        rows: Results; those of a task have its name.
        tasks: Names of the tasks, in the order of training.
        measure: What the matrix shows.
        results: Content of results.json, which gets `summary`: average and forgetting by metric.
        console: Where to print.
    """
    from avstore.train.plots import plot_run  # noqa: PLC0415 -- takes a second to import

    summary = measure.summaries(rows, tasks)
    plot_run(folder / "matrix.png", rows, tasks, folder.name, measure)
    content = {**results, "summary": {metric: asdict(s) for metric, s in summary.items()}}
    write_results(folder, rows, content)
    console.print(_task_table(rows, tasks, measure))
    console.print(_summary_table(summary, measure))
    console.print(f"plot {folder / 'matrix.png'}, rows {folder / 'results.duckdb'}")


def _task_table(rows: list[Row], tasks: list[str], measure: Measure) -> Table:
    trained = list(dict.fromkeys(r["trained"] for r in rows if r["task"] in tasks))
    chance = "" if measure.chance is None else f"; chance {measure.chance:.1f}"
    title = f"{measure.subject} after each task: {measure.definition}, %{chance}"
    table = Table(title=title, box=None, header_style="bold")
    table.add_column("trained on")
    for task in [*tasks, "mean"]:
        table.add_column(task, justify="right")
    for name, line in zip(trained, measure.scores(rows, tasks), strict=True):
        table.add_row(name, *_cells([*line, line.mean()], 1))
    return table


def _summary_table(summary: dict[str, Summary], measure: Measure) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("metric, %", "average", "forgetting F(code)", "forgetting F(standard)"):
        table.add_column(name, justify="left" if name == "metric, %" else "right")
    for metric, s in summary.items():
        values = [s.average, s.forgetting_code, s.forgetting_standard]
        table.add_row(measure.summarised[metric], *_cells(values, 2))
    return table


def _cells(values: Sequence[float | None], digits: int) -> list[str]:
    return ["–" if x is None else f"{x:.{digits}f}" for x in values]
