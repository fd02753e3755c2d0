"""Draw UAVM's figures from trained models: which numbers each needs, and what cannot be drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from avstore.manifests.store import StoreError
from avstore.train.data import SampleList
from avstore.train.errors import UserError
from avstore.train.systems.uavm.figures import accuracy, panels
from avstore.train.systems.uavm.figures.drawing import Panel, write_picture
from avstore.train.systems.uavm.figures.groups import Group, grouped
from avstore.train.systems.uavm.figures.measure import (
    MissingError,
    Part,
    Parts,
    Progress,
    Settings,
    measure,
)
from avstore.train.systems.uavm.figures.representations import Reading
from avstore.train.systems.uavm.figures.trained import Trained, evaluation_clips

Name = Literal["3", "4", "5", "accuracy"]
Builder = Callable[[Sequence[Group], panels.Measured], Panel]

_PARTS: dict[Name, tuple[Part, ...]] = {
    "3": ("probe", "tsne"),
    "4": ("recall",),
    "5": ("attention",),
    "accuracy": (),
}
# The pictures of each figure, with their panels.
_PICTURES: dict[Name, dict[str, tuple[Builder, ...]]] = {
    "3": {
        "figure-3": (panels.accuracy_by_width, panels.accuracy_by_layer, panels.coefficients),
        "figure-3d": (panels.modality_planes,),
    },
    "4": {"figure-4": (panels.recall_by_width, panels.recall_by_layer)},
    "5": {"figure-5": (panels.attention_by_depth,), "figure-5-maps": (panels.attention_profiles,)},
    "accuracy": {
        name: (partial(accuracy.accuracies, axis=axis),) for axis, name in accuracy.AXES.items()
    },
}
_NOT_APART = "cross_attention has no embedding of one modality, so it is not in figures 3 and 4"


@dataclass
class Drawn:
    """What was drawn.

    Attributes:
        files: Pictures and tables.
        left_out: A line for each panel or model that was left out, and why.
        notes: A line for each panel whose numbers need a word.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """How to draw.

    Attributes:
        folder: Folder of the pictures and tables; its subfolder `numbers` keeps what was computed.
        suffix: Format of the pictures, such as ".png".
        settings: What decides the numbers.
        reading: How clips are read and models run.
        progress: Shows the progress of a model's clips.
    """

    folder: Path
    suffix: str
    settings: Settings
    reading: Reading
    progress: Progress

    def draw(self, models: Sequence[Trained], figures: Iterable[Name]) -> Drawn:
        """Draw figures of models."""
        figures, out = tuple(figures), Drawn()
        groups = grouped(models)
        measured = self._measure(groups, figures, out)
        for figure in figures:
            for name, builders in _PICTURES[figure].items():
                found = []
                for builder in builders:
                    try:
                        found.append(builder(groups, measured))
                    except MissingError as error:
                        out.left_out.append(f"{_title(builder, name)}: {error}")
                out.notes += [f"{panel.name}: {panel.note}" for panel in found if panel.note]
                if found:
                    out.files += write_picture(self.folder / f"{name}{self.suffix}", found)
        return out

    def _measure(
        self, groups: Sequence[Group], figures: Sequence[Name], out: Drawn
    ) -> dict[str, Parts]:
        """Return the numbers that the figures need, by model and part."""
        wanted = {part for figure in figures for part in _PARTS[figure]}
        planes = {group.members[0].key for group in panels.planes(groups)}
        reasons: dict[str, list[str]] = {}
        found: dict[str, Parts] = {}
        clips: dict[tuple[str | None, str | None], SampleList] = {}
        models = [member for group in groups for member in group.members]
        for model in models:
            parts = _parts_of(model, wanted, planes)
            if not parts:
                continue
            try:
                place = (model.store, model.config.stream)
                samples = clips.get(place) or evaluation_clips(model)
                clips[place] = samples
                found[model.key], missing = self._numbers(model, samples, parts)
            except (UserError, StoreError) as error:
                missing = {"attention": str(error)}
            for why in missing.values():
                reasons.setdefault(why, []).append(model.name)
        if alike := [m.name for m in models if crosses(m) and wanted - {"attention"}]:
            reasons[_NOT_APART] = alike
        out.left_out += [f"{why} ({', '.join(names)})" for why, names in reasons.items()]
        return found

    def _numbers(
        self, model: Trained, samples: SampleList, parts: Sequence[Part]
    ) -> tuple[Parts, dict[Part, str]]:
        place = self.folder / "numbers"
        return measure(model, samples, parts, self.settings, self.reading, place, self.progress)


def crosses(model: Trained) -> bool:
    """Return whether a model sees both modalities at once."""
    return model.shape.kind == "cross_attention"


def _parts_of(model: Trained, wanted: set[Part], planes: set[str]) -> list[Part]:
    """Return the parts to compute of a model: of cross-attention its maps alone."""
    if crosses(model):
        return ["attention"] if "attention" in wanted else []
    return sorted(wanted if model.key in planes else wanted - {"tsne"})


def _title(builder: Builder, picture: str) -> str:
    """Return what a message calls a panel."""
    shown: dict[Builder, str] = {
        panels.accuracy_by_width: "figure 3A",
        panels.accuracy_by_layer: "figure 3B",
        panels.coefficients: "figure 3C",
        panels.modality_planes: "figure 3D",
        panels.recall_by_width: "figure 4, left",
        panels.recall_by_layer: "figure 4, right",
        panels.attention_by_depth: "figure 5",
    }
    return shown.get(builder, picture)
