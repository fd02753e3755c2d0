"""The panels of UAVM's figures 3, 4 and 5, with the published axes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from avstore.train.figure_tables import Rows
from avstore.train.systems.uavm.figures.drawing import (
    Panel,
    draw_curve,
    finish,
    over_layers,
    over_width,
)
from avstore.train.systems.uavm.figures.groups import Axis, Curve, Group, curves, group_labels
from avstore.train.systems.uavm.figures.measure import MissingError, Part, Parts
from avstore.train.systems.uavm.figures.tables import against_layer, against_setting

Measured = Mapping[str, Parts]
"""The numbers of each model by its key."""

_COLUMNS: dict[Axis, str] = {"S": "shared_width", "N_s": "shared_depth", "λ": "audio_share"}
_NAMES: dict[Axis, str] = {"S": "width S", "N_s": "number of shared layers", "λ": "share of audio"}


def with_part(groups: Iterable[Group], part: Part, measured: Measured) -> list[Group]:
    """Return groups of the models that have a part.

    Raises:
        MissingError: None has.
    """
    found = []
    for group in groups:
        members = tuple(m for m in group.members if part in measured.get(m.key, {}))
        if members:
            found.append(Group(group.kind, group.training, members))
    if not found:
        raise MissingError("no model gives its numbers")
    return found


def drawn_curves(groups: Sequence[Group], axis: Axis) -> list[Curve]:
    """Return the curves over a setting that have two points or more.

    Raises:
        MissingError: There is none.
    """
    found = curves(groups, axis, least=2)
    if not found:
        raise MissingError(
            f"it is drawn over the {_NAMES[axis]}, and no two models differ in that only"
        )
    return found


def mixed_note(found: Iterable[Curve]) -> str:
    """Return which settings of the training are not the same at all points of a curve."""
    mixed = sorted({key for curve in found for key in curve.mixed})
    return f"its curves join models that differ in {', '.join(mixed)}" if mixed else ""


def setting_rows(curve: Curve, axis: Axis, score: str, values: Mapping[str, float]) -> Rows:
    """Return mean and population standard deviation of a score at each point of a curve."""
    points = {x: [values[m.key] for m in group.members] for x, group in curve.points.items()}
    return [{"curve": curve.label, **row} for row in against_setting(points, _COLUMNS[axis], score)]


def column(axis: Axis) -> str:
    """Return the name of a setting in tables."""
    return _COLUMNS[axis]


def accuracy_by_width(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return figure 3A: accuracy of the modality classifier in the last layer, over S."""
    groups = with_part(groups, "probe", measured)
    values = {
        name: float(p["probe"]["accuracy"][-1]) for name, p in measured.items() if "probe" in p
    }
    joined = drawn_curves(groups, "S")
    found = [setting_rows(curve, "S", "accuracy", values) for curve in joined]

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        for number, rows in enumerate(found):
            draw_curve(axes, rows, "shared_width", "accuracy", rows[0]["curve"], number)
        over_width(axes, [row["shared_width"] for rows in found for row in rows])
        axes.set(title="(A)", ylabel="modality classification accuracy, %")
        finish(axes)

    return Panel("figure-3a", list(chain.from_iterable(found)), draw, note=mixed_note(joined))


def _layer_rows(
    groups: Sequence[Group], score: str, values: Mapping[str, NDArray[np.floating]]
) -> list[Rows]:
    """Return a score by layer, rows a group."""
    found = []
    for label, group in zip(group_labels(groups), groups, strict=True):
        scores = [values[member.key] for member in group.members]
        rows = against_layer({float(group.kind["N_s"]): scores}, "shared_depth", score)
        found.append([{"curve": label, "shared_width": group.kind["S"], **row} for row in rows])
    return found


def accuracy_by_layer(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return figure 3B: accuracy of the modality classifier, by layer."""
    groups = with_part(groups, "probe", measured)
    values = {name: p["probe"]["accuracy"] for name, p in measured.items() if "probe" in p}
    found = _layer_rows(groups, "accuracy", values)

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        for number, rows in enumerate(found):
            draw_curve(axes, rows, "layer", "accuracy", rows[0]["curve"], number)
        over_layers(axes, max(len(rows) for rows in found) - 1)
        axes.set(title="(B)", ylabel="modality classification accuracy, %")
        finish(axes)

    return Panel("figure-3b", list(chain.from_iterable(found)), draw)


def coefficients(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return figure 3C: sizes of the classifier's coefficients, of each group's first model."""
    groups = with_part(groups, "probe", measured)
    sizes = [measured[group.members[0].key]["probe"]["coefficients"] for group in groups]
    names = group_labels(groups)
    rows = [
        {"curve": name, "shared_width": group.kind["S"], "rank": rank, "coefficient": float(value)}
        for name, group, own in zip(names, groups, sizes, strict=True)
        for rank, value in enumerate(own, 1)
    ]

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        for name, own in zip(names, sizes, strict=True):
            axes.plot(range(1, len(own) + 1), own, linewidth=2.5, label=name or None)
        over_width(axes, [1, *map(len, sizes)])
        axes.set(title="(C)", xlabel="embedding index", ylabel="classifier coefficient")
        axes.set(ylim=(-0.05, 1))
        finish(axes)

    return Panel("figure-3c", rows, draw)


def planes(groups: Sequence[Group]) -> list[Group]:
    """Return the groups of figure 3D: those of the least and the greatest width of one curve."""
    apart = [group for group in groups if group.kind["model"] != "cross_attention"]
    first = next((list(c.points.values()) for c in curves(apart, "S")), apart)
    return [first[0], first[-1]] if len(first) > 1 else first


def modality_planes(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return figure 3D: audio and video in one plane by t-SNE, a row a width, a column a layer."""
    groups = with_part(planes(groups), "tsne", measured)
    found = [measured[group.members[0].key]["tsne"]["points"] for group in groups]
    rows = [
        {"shared_width": group.kind["S"], "layer": layer, "modality": modality,
         "x": float(x), "y": float(y)}
        for group, points in zip(groups, found, strict=True)
        for layer, plane in enumerate(points)
        for modality, own in zip(("audio", "video"), plane, strict=True)
        for x, y in own
    ]  # fmt: skip
    columns = max(map(len, found))

    def draw(place: SubFigure) -> None:
        grid = place.subplots(len(groups), columns, squeeze=False)
        for line, group, points in zip(grid, groups, found, strict=True):
            line[0].set_ylabel(f"S={group.kind['S']}" if group.kind["S"] else "no shared layer")
            for layer, (axes, plane) in enumerate(zip(line, points, strict=False)):
                for own, name, colour in zip(plane, ("audio", "video"), "br", strict=True):
                    axes.scatter(*own.T, s=2, color=colour, label=name)
                axes.set_title(f"Layer {layer}" if layer else "Input", fontsize=9)
            for axes in line:
                axes.set(xticks=[], yticks=[])
        grid[0][0].legend(fontsize=7)

    return Panel("figure-3d", rows, draw, (1.7 * columns, 1.9 * len(groups)))


def recall_by_width(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return the left panel of figure 4: recall in the last layer, over S."""
    groups = with_part(groups, "recall", measured)
    found = []
    joined = drawn_curves(groups, "S")
    for curve in joined:
        for score in ("a2v_r5", "a2v_r10"):
            values = {
                n: float(p["recall"][score][-2]) for n, p in measured.items() if "recall" in p
            }
            for row in setting_rows(curve, "S", score, values):
                mean, spread = row.pop(score), row.pop(f"{score}_std")
                name = f"R@{score.removeprefix('a2v_r')}"
                found.append({**row, "score": name, "recall": mean, "recall_std": spread})

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        pairs = dict.fromkeys((row["curve"], row["score"]) for row in found)
        for number, (curve, score) in enumerate(pairs):
            own = [row for row in found if (row["curve"], row["score"]) == (curve, score)]
            name = f"{score}, {curve}" if curve else score
            draw_curve(axes, own, "shared_width", "recall", name, number)
        over_width(axes, [row["shared_width"] for row in found])
        axes.set_ylabel("audio→video retrieval, %")
        finish(axes)

    return Panel("figure-4-width", found, draw, note=mixed_note(joined))


def recall_by_layer(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return the right panel of figure 4: R@10 by layer, for the depths of one width.

    The width is that with the most numbers of shared layers (128 in the paper); with no two, all
    models are drawn.
    """
    groups = with_part(groups, "recall", measured)
    fullest = max(curves(groups, "N_s"), key=lambda curve: len(curve.points))
    if len(fullest.points) > 1:
        groups = list(reversed(fullest.points.values()))
    values = {name: p["recall"]["a2v_r10"] for name, p in measured.items() if "recall" in p}
    found = _layer_rows(groups, "a2v_r10", values)

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        for number, (rows, group) in enumerate(zip(found, groups, strict=True)):
            many = len(fullest.points) > 1
            name = f"$N_s$={group.kind['N_s']}" if many else rows[0]["curve"]
            draw_curve(axes, rows, "layer", "a2v_r10", name, number)
        over_layers(axes, max(len(rows) for rows in found) - 2, logits=True)
        axes.set_ylabel("R@10, %")
        finish(axes)

    return Panel("figure-4-layer", list(chain.from_iterable(found)), draw)


def attention_by_depth(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return figure 5: attention difference of audio and video in the last block, over N_s."""
    values = {
        name: float(parts["attention"]["difference"])
        for name, parts in measured.items()
        if "difference" in parts.get("attention", {})
    }
    groups = [group for group in groups if all(m.key in values for m in group.members)]
    joined = drawn_curves(groups, "N_s")
    found = [setting_rows(curve, "N_s", "difference", values) for curve in joined]

    def draw(place: SubFigure) -> None:
        axes = place.subplots()
        for number, rows in enumerate(found):
            draw_curve(axes, rows, "shared_depth", "difference", rows[0]["curve"], number)
        deepest = int(max(row["shared_depth"] for rows in found for row in rows))
        axes.set_xticks(range(1, deepest + 1))
        axes.set(xlabel="shared layers $N_s$", ylabel="audio-visual attention difference (MAE)")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        finish(axes)

    return Panel("figure-5", list(chain.from_iterable(found)), draw, note=mixed_note(joined))


def attention_profiles(groups: Sequence[Group], measured: Measured) -> Panel:
    """Return the attention of the first clip in the last block: heads by rows, a line a group."""
    groups = with_part(groups, "attention", measured)
    names = group_labels(groups)
    found = []
    for group in groups:
        arrays = measured[group.members[0].key]["attention"]
        views = {k.removeprefix("profile_"): x for k, x in arrays.items() if k != "difference"}
        found.append(views)
    rows = [
        {"curve": name, "view": view, "head": head, "row": row, "attention": float(value)}
        for name, views in zip(names, found, strict=True)
        for view, profile in views.items()
        for head, line in enumerate(profile)
        for row, value in enumerate(line)
    ]

    def draw(place: SubFigure) -> None:
        grid = place.subplots(len(groups), 2, squeeze=False)
        for line, name, views in zip(grid, names, found, strict=True):
            for axes, (view, profile) in zip(line, views.items(), strict=False):
                axes.imshow(profile, aspect="auto")
                axes.set_title(f"{view}, {name}" if name else view, fontsize=8)
                axes.set(ylabel="head", xlabel="row")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            for axes in line[len(views) :]:
                axes.set_axis_off()

    return Panel("figure-5-maps", rows, draw, (8.0, 1.9 * len(groups)))
