"""Draw several runs side by side: their losses and their task matrices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.train.plots import draw_matrix, save_figure
from avstore.train.results import Row, matrix
from avstore.train.runs import Run

_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_RUNS = 24
_SMOOTHED_STEPS = 50  # points of a loss curve, each the mean of its share of the steps


def plot_runs(path: Path, runs: Sequence[Run]) -> None:
    """Write a plot with the runs' losses in one panel, and a panel for each task matrix.

    Args:
        path: File to write; its suffix is the format.
        runs: Runs with results.

    Raises:
        StoreError: There is no run, there are too many, or the suffix is unknown.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise StoreError(f"{path} does not end in .png, .svg or .pdf; choose such a name")
    if not runs:
        raise StoreError("no run is finished, so there is nothing to draw")
    if len(runs) > _MOST_RUNS:
        raise StoreError(
            f"{len(runs)} runs are too many to draw; give at most {_MOST_RUNS} folders"
        )
    rows = {run.name: run.rows() for run in runs}
    shown = [run for run in runs if run.tasks]
    columns = min(4, 1 + len(shown))
    lines = -(-(1 + len(shown)) // columns)
    figure = Figure(figsize=(5.2 * columns, 4.4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(lines, columns, squeeze=False).flat
    _losses(first, rows)
    for axes, run in zip(others, shown, strict=False):
        scores = [matrix(rows[run.name], list(run.tasks), metric) for metric in run.shown]
        draw_matrix(axes, np.mean(scores, axis=0), list(run.tasks))
        axes.set_title(run.name, fontsize=9)
    for axes in others[len(shown) :]:
        axes.set_axis_off()
    save_figure(figure, path)


def _losses(axes: Axes, rows: dict[str, list[Row]]) -> None:
    for name, own in rows.items():
        found = [(row["step"], row["value"]) for row in own if row["metric"] == "loss"]
        if found:
            steps, values = smoothed(np.array(found, dtype=np.float64))
            axes.plot(steps, values, label=name)
    axes.set(title="Training loss", xlabel="step", ylabel="loss")
    if axes.lines:  # a matrix of classification has no losses of its own
        axes.legend(fontsize=7)


def smoothed(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve's points [N, 2] as at most 50, each the mean of consecutive ones."""
    parts = np.array_split(points, min(_SMOOTHED_STEPS, len(points)))
    means = np.array([part.mean(0) for part in parts])
    return means[:, 0], means[:, 1]
