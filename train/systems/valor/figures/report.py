"""Write the figures of a run of HAN's and VALOR's network, with the numbers of each as CSV."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avstore.manifests.store import write_text
from avstore.train.errors import UserError
from avstore.train.evaluation.parsing import VIEWS
from avstore.train.figure_tables import Rows, to_csv
from avstore.train.plots import save_figure
from avstore.train.results import EPOCH
from avstore.train.runs import read_run
from avstore.train.systems.valor.figures.predictions import Predictions
from avstore.train.systems.valor.figures.tables import (
    by_class,
    by_clip,
    by_threshold,
    events_by_class,
    events_by_clip,
)
from avstore.train.systems.valor.figures.timeline import draw_timeline

_MEANS = ("type", "event")
_NAMES = (*VIEWS, *_MEANS)
_LOSSES = ("loss", "video", "audio", "visual", "seconds", "clip", "teachers")
_F_SCORES = {
    f"F of {level}s, %": {name: f"{level}_{name}" for name in _NAMES}
    for level in ("segment", "event")
}
_ACCURACY = {"accuracy over seconds, %": {"accuracy": "accuracy"}}
_THRESHOLD = 0.5


def write_figures(
    output: Path,
    run: Path,
    predictions: Predictions,
    *,
    suffix: str = ".png",
    threshold: float = _THRESHOLD,
    clips: Sequence[str] = (),
    timelines: int = 3,
) -> Iterator[Path]:
    """Write scores by class, clip and threshold, learning curves, and timelines; yield the files.

    With one class a second there are no thresholds.

    Args:
        output: Folder to write to.
        run: The run's folder.
        predictions: Its predictions.
        suffix: Format of the pictures, `.png` and the like.
        threshold: Probability from which a class is in a clip, and in a second of it.
        clips: Clips to draw; without any, the best and the worst ones.
        timelines: How many of the best and of the worst.

    Raises:
        UserError: A clip is not among those of the run, or it has no threshold.
    """
    single = predictions.one_class
    if single and threshold != _THRESHOLD:
        raise UserError(
            f"threshold {threshold} means nothing to a run with one class a second, the one with "
            "the highest probability; leave it out"
        )
    output.mkdir(parents=True, exist_ok=True)
    scored = events_by_clip(predictions) if single else by_clip(predictions, threshold)
    chosen = _chosen(predictions, clips, scored, timelines)
    classes = events_by_class(predictions) if single else by_class(predictions, threshold)
    for name, rows in (("classes", classes), ("clips", scored)):
        yield _table(output / f"{name}.csv", rows)
    if not single:
        curve = by_threshold(predictions)
        yield _table(output / "thresholds.csv", curve)
        yield _curves(output / f"thresholds{suffix}", "threshold", curve, _F_SCORES)
    if rows := _epochs(run):
        yield _table(output / "epochs.csv", rows)
        drawn = _ACCURACY if single else _F_SCORES
        yield _curves(output / f"epochs{suffix}", "epoch", rows, drawn)
    for number in chosen:
        key = predictions.clip_ids[number].rpartition("/")[2]
        path = output / f"timeline-{key}{suffix}"
        draw_timeline(path, predictions, number, threshold)
        yield path


def _chosen(predictions: Predictions, clips: Sequence[str], scored: Rows, count: int) -> list[int]:
    """Return the numbers of the clips to draw."""
    place = {clip_id: number for number, clip_id in enumerate(predictions.clip_ids)}
    place |= {clip_id.partition("/")[2]: number for clip_id, number in place.items()}
    if unknown := [clip for clip in clips if clip not in place]:
        raise UserError(
            f"{unknown[0]!r} is not among the {len(predictions.clip_ids)} clips that the run "
            f"reports on, such as {predictions.clip_ids[0]!r}"
        )
    if clips:
        return [place[clip] for clip in clips]
    numbers = [row["clip"] for row in scored]
    return list(dict.fromkeys([*numbers[:count], *numbers[len(numbers) - count :]]))


def _epochs(run: Path) -> Rows:
    """Return a row an epoch: its step, the scores after it, and the mean of its losses."""
    rows = read_run(run, run.name).rows()
    scores: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["task"] == EPOCH:
            scores.setdefault(row["step"], {})[row["metric"]] = row["value"]
    table: Rows = []
    first = 0
    for epoch, (step, values) in enumerate(sorted(scores.items()), 1):
        own = [r for r in rows if r["task"] is None and first < r["step"] <= step]
        first = step
        losses = {name: [r["value"] for r in own if r["metric"] == name] for name in _LOSSES}
        means = {f"loss_{n}": sum(found) / len(found) for n, found in losses.items() if found}
        table.append({"epoch": epoch, "step": step, **values, **means})
    keys = dict.fromkeys(key for row in table for key in row)
    return [{key: row.get(key) for key in keys} for row in table]


def _curves(path: Path, axis: str, rows: Rows, scores: Mapping[str, dict[str, str]]) -> Path:
    """Draw a panel for each group of scores, by title, and the losses where there are any."""
    losses = {name: name for name in rows[-1] if name.startswith("loss_")}
    count = len(scores) + bool(losses)
    figure = Figure(figsize=(5 * count, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, (title, names) in zip(panels, scores.items(), strict=False):
        _draw(axes, rows, axis, names)
        axes.set(title=title, ylim=(0, 100))
    if losses:
        _draw(panels[-1], rows, axis, losses)
        panels[-1].set_title("training loss")
    save_figure(figure, path)
    return path


def _draw(axes: Axes, rows: Rows, axis: str, names: dict[str, str]) -> None:
    for label, key in names.items():
        points = [(row[axis], row[key]) for row in rows if row.get(key) is not None]
        style = "--" if label in _MEANS else "-"
        axes.plot(*zip(*points, strict=True), style, label=label.replace("_", "-"))
    axes.set_xlabel(axis)
    axes.grid(visible=True, alpha=0.4)
    axes.legend(fontsize=7)


def _table(path: Path, rows: Rows) -> Path:
    write_text(path, to_csv(rows))
    return path
