"""Draw panels side by side, and write the numbers of each as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from avstore.manifests.store import write_text
from avstore.train.figure_tables import Rows, to_csv
from avstore.train.plots import save_figure

MARKERS = "so^Dv<>*"
WIDTHS = (16, 64, 256, 1024)  # the published ticks


@dataclass(frozen=True)
class Panel:
    """A part of a picture.

    Attributes:
        name: Stem of its CSV file.
        rows: Its numbers.
        draw: Draws it.
        size: Width and height in inches.
        note: What a reader must know of its numbers; empty for nothing.
    """

    name: str
    rows: Rows
    draw: Callable[[SubFigure], None]
    size: tuple[float, float] = (4.0, 3.4)
    note: str = ""


def write_picture(path: Path, panels: Sequence[Panel]) -> list[Path]:
    """Write a picture of panels side by side, and a CSV a panel beside it; return the files."""
    widths = [panel.size[0] for panel in panels]
    height = max(panel.size[1] for panel in panels)
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subfigures(1, len(panels), squeeze=False, width_ratios=widths).flat
    for place, panel in zip(places, panels, strict=True):
        panel.draw(place)
    save_figure(figure, path)
    tables = [path.with_name(f"{panel.name}.csv") for panel in panels]
    for table, panel in zip(tables, panels, strict=True):
        write_text(table, to_csv(panel.rows))
    return [path, *tables]


def draw_curve(axes: Axes, rows: Rows, x: str, y: str, label: str, number: int) -> None:
    """Draw a mean with its standard deviation as a band; curve `number` chooses the marker."""
    xs = [row[x] for row in rows]
    means = [row[y] for row in rows]
    spread = [row[f"{y}_std"] for row in rows]
    (line,) = axes.plot(xs, means, marker=MARKERS[number % len(MARKERS)], label=label or None)
    low, high = ([m + s * d for m, d in zip(means, spread, strict=True)] for s in (-1, 1))
    axes.fill_between(xs, low, high, alpha=0.3, color=line.get_color())


def over_width(axes: Axes, widths: Sequence[float]) -> None:
    """Label an axis of widths as published: logarithmic, 16, 64, 256 and 1,024."""
    axes.set_xscale("log")
    ticks: list[float] = [w for w in WIDTHS if min(widths) <= w <= max(widths)]
    ticks = ticks if len(ticks) > 1 else sorted(set(widths))
    axes.set_xticks(ticks, [f"{width:g}" for width in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("shared embedding dimension $S_{dim}$")


def over_layers(axes: Axes, depth: int, logits: bool = False) -> None:
    """Label an axis of layers as published: Input, 1, 2, … and Logits."""
    names = ["Input", *map(str, range(1, depth + 1)), *(["Logits"] if logits else [])]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("embedding of layer")


def finish(axes: Axes) -> None:
    """Add the grid, and a legend if curves have names."""
    axes.grid(visible=True, alpha=0.5)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7)
