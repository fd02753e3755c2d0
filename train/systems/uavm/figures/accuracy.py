"""The panels of UAVM's accuracies over a setting: audio, video and both side by side."""

from collections.abc import Sequence

from matplotlib.figure import SubFigure

from avstore.train.figure_tables import Rows
from avstore.train.systems.uavm.figures.drawing import Panel, draw_curve, finish, over_width
from avstore.train.systems.uavm.figures.groups import Axis, Curve, Group
from avstore.train.systems.uavm.figures.measure import MissingError
from avstore.train.systems.uavm.figures.panels import (
    Measured,
    column,
    drawn_curves,
    mixed_note,
    setting_rows,
)

AXES: dict[Axis, str] = {
    "S": "accuracy-width",
    "N_s": "accuracy-shared-layers",
    "λ": "accuracy-audio-share",
}
"""The settings that accuracies are drawn over, and the names of the pictures."""

_TITLES = {"audio": "Audio", "video": "Visual", "both": "Audio-Visual Fusion"}
_LABELS: dict[Axis, str] = {
    "S": "",
    "N_s": "shared layers $N_s$",
    "λ": "share of audio steps $λ_{MT}$",
}


def accuracies(groups: Sequence[Group], _measured: Measured, axis: Axis) -> Panel:
    """Return accuracy, or mAP of models trained with "bce", over a setting by what is classified.

    Raises:
        MissingError: No two models differ in the setting only, or a model's run has no scores.
    """
    scored = [group for group in groups if all(member.rows for member in group.members)]
    found = drawn_curves(scored, axis) if scored else []
    if not found:
        raise MissingError("no run has scores")
    rows = [row for view in _TITLES for curve in found for row in _rows(curve, axis, view)]
    names = list(dict.fromkeys(row["score"] for row in rows))

    def draw(place: SubFigure) -> None:
        for axes, (view, title) in zip(place.subplots(1, 3), _TITLES.items(), strict=True):
            for number, curve in enumerate(found):
                own = [r for r in rows if (r["view"], r["curve"]) == (view, curve.label)]
                if own:
                    draw_curve(axes, own, column(axis), "value", curve.label, number)
            axes.set(title=title, xlabel=_LABELS[axis], ylabel=f"{' or '.join(names)}, %")
            if axis == "S":
                over_width(axes, [row[column(axis)] for row in rows])
            if axis == "N_s":
                axes.set_xticks(sorted({int(row[column(axis)]) for row in rows}))
            finish(axes)

    return Panel(AXES[axis], rows, draw, (11.0, 3.2), mixed_note(found))


def _rows(curve: Curve, axis: Axis, view: str) -> Rows:
    """Return the rows of a curve for one view; none if its models do not have it."""
    members = [member for group in curve.points.values() for member in group.members]
    bce = members[0].settings["objective.loss"] == "bce"
    name, metric = ("mAP", f"{view}_map") if bce else ("accuracy", f"{view}_accuracy")
    scores = {member.key: member.score(metric) for member in members}
    values = {key: value for key, value in scores.items() if value is not None}
    if len(values) < len(scores):
        return []
    return [
        {"view": view, "score": name, **row} for row in setting_rows(curve, axis, "value", values)
    ]
