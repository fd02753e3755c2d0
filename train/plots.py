"""Plots of a run and of a comparison of methods, as PNG."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from avstore.manifests.store import committing
from avstore.train.results import Row, matrix
from avstore.train.task_matrix import Measure


def plot_run(path: Path, rows: list[Row], tasks: list[str], title: str, measure: Measure) -> None:
    """Write a PNG with the panels matrix, scores, forgetting, and modality gap if there is one."""
    scores = measure.scores(rows, tasks)
    gaps = matrix(rows, tasks, "modality_gap")
    panels = 4 if gaps.size else 3
    figure = Figure(figsize=(4.75 * panels, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right, *last = figure.subplots(1, panels)
    score = f"{measure.name}, %"
    draw_matrix(left, scores, tasks)
    left.set_title(score[:1].upper() + score[1:])
    _curves(middle, scores, tasks)
    if measure.chance is not None:
        middle.axhline(measure.chance, color="grey", linestyle=":", label="chance")
    middle.set(title=f"{measure.subject} over tasks", xlabel="tasks trained", ylabel=score)
    middle.legend(fontsize=8)
    _forgetting(right, scores, measure.name)
    for axes in last:
        _curves(axes, gaps, tasks)
        axes.set(title="Modality gap", xlabel="tasks trained", ylabel="distance of the means")
    figure.suptitle(title)
    save_figure(figure, path)


def draw_matrix(axes: Axes, scores: NDArray[np.float64], tasks: list[str]) -> None:
    """Draw a matrix of scores in percent, [trainings, tasks], as coloured cells with numbers."""
    axes.imshow(scores, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axes.set(xlabel="evaluated on", ylabel="after training on task")
    axes.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(scores)), [str(k + 1) for k in range(len(scores))])
    for k, line in enumerate(scores):
        for t, value in enumerate(line):
            colour = "white" if value < 60 else "black"
            axes.text(t, k, f"{value:.0f}", ha="center", va="center", color=colour)


def _curves(axes: Axes, scores: NDArray[np.float64], tasks: list[str]) -> None:
    steps = np.arange(1, len(scores) + 1)
    for t, task in enumerate(tasks):
        axes.plot(steps, scores[:, t], marker="o", label=task)
    axes.plot(steps, scores.mean(1), color="black", linewidth=2, label="mean")
    axes.set_xticks(steps)


def _forgetting(axes: Axes, scores: NDArray[np.float64], name: str) -> None:
    """Plot best score so far minus current score, mean over the tasks trained before."""
    lost = [
        float(np.mean([scores[t : k + 1, t].max() - scores[k, t] for t in range(k)]))
        for k in range(1, min(len(scores), scores.shape[1]))
    ]
    steps = range(2, len(lost) + 2)
    axes.plot(steps, lost, marker="o", color="firebrick")
    axes.set_xticks(steps)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(title="Forgetting so far", xlabel="tasks trained", ylabel=f"points of {name}")


def plot_comparison(path: Path, methods: dict[str, dict[str, Any]]) -> None:
    """Write a PNG of average score and forgetting by method, with the deviation over seeds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, 2), ("average", "F(standard)"), strict=True):
        shown = {method: values for method, values in methods.items() if values[name]}
        means = [values[f"{name} mean"] for values in shown.values()]
        axes.bar(list(shown), means, yerr=[values[f"{name} std"] for values in shown.values()])
        axes.set(title=name, ylabel="mean recall, %")
        axes.tick_params(axis="x", rotation=30)
        if name == "average":
            axes.axhline(next(iter(methods.values()))["chance"], color="grey", linestyle=":")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its file's suffix, whole or not at all."""
    with committing(path) as file:
        figure.savefig(file, format=path.suffix.lower().removeprefix("."), dpi=110)
