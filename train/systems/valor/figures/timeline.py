"""Draw the events of a clip by the second: predictions, pseudo labels and truth."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from avstore.train.plots import save_figure
from avstore.train.systems.valor.figures.predictions import Predictions
from avstore.train.systems.valor.model_config import SEGMENTS

_LANES = ("prediction", "pseudo labels", "truth")
_COLOURS = ("tab:blue", "tab:orange", "tab:green")
_LANE = 0.26  # height of a lane; a class has three


def draw_timeline(path: Path, predictions: Predictions, clip: int, threshold: float) -> None:
    """Write a picture of one clip: a panel a modality, a row a class, three lanes a row.

    Classes are those that are predicted, annotated or in the pseudo labels; the shade of a
    prediction is its probability.

    Args:
        path: File to write; its suffix is the format.
        predictions: The predictions.
        clip: Number of the clip.
        threshold: Probability from which a class is in a second.
    """
    events = predictions.events(threshold)[clip]
    lanes: list[Tensor | None] = [
        events * predictions.seconds[clip],
        None if predictions.teachers is None else predictions.teachers[clip].float(),
        predictions.truth[clip],
    ]
    every = torch.stack([lane.amax((0, 1)) for lane in lanes if lane is not None])
    classes = every.amax(0).nonzero().flatten().tolist() or [int(predictions.video[clip].argmax())]
    figure = Figure(figsize=(10, 1.6 + 0.55 * len(classes)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(predictions.modalities), sharey=True, squeeze=False)[0]
    for number, axes in enumerate(panels):
        axes.set_title(predictions.modalities[number])
        own = [None if lane is None else lane[:, number] for lane in lanes]
        _draw_modality(axes, own, classes)
        axes.set_yticks(range(len(classes)), [predictions.labels[label] for label in classes])
    figure.suptitle(predictions.clip_ids[clip])
    handles = [
        axes.barh([0], [0], color=colour, label=name)
        for name, colour in zip(_LANES, _COLOURS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(_LANES), fontsize=8)
    save_figure(figure, path)


def _draw_modality(axes: Axes, lanes: list[Tensor | None], classes: list[int]) -> None:
    for lane, (values, colour) in enumerate(zip(lanes, _COLOURS, strict=True)):
        if values is None:
            continue
        for row, label in enumerate(classes):
            for second, value in enumerate(values[:, label].tolist()):
                if value:
                    top = row + (lane - 1.5) * _LANE
                    axes.broken_barh([(second, 1)], (top, _LANE), color=colour, alpha=value)
    axes.set(xlim=(0, SEGMENTS), xlabel="second")
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.grid(visible=True, axis="x", alpha=0.4)
