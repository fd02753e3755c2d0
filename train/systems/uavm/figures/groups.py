"""Put models together for a figure: repeats of equal settings, and curves over one setting."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avstore.train.config import Config
from avstore.train.results import flatten
from avstore.train.systems.uavm.figures.trained import Trained

Axis = Literal["S", "N_s", "λ"]
"""Settings that figures are drawn over: width of the upper stage, its blocks, share of audio."""

Facts = dict[str, Any]
_KINDS = ("unified", "independent", "cross_attention")
_SHAPE = ("model", "layers", "N_s", "S")
_BY_VALUE = ("model", "method", "stream")
_OF_A_REPEAT = {"seed", "title", "name", *flatten(Config.SPEED)}
_SPEED = {
    f"{section}.{key}"
    for section, keys in Config.SPEED.items()
    if isinstance(keys, set)
    for key in keys
}
_SHOWN_OTHERWISE = {
    "model.kind", "model.own_depth", "model.shared_depth", "model.shared_width",
    "objective.audio_share",
}  # fmt: skip
# Two models that differ in other settings have been trained differently, but are of one kind.
_KIND = ("model.", "objective.", "stream", "method", "options.")


@dataclass(frozen=True)
class Group:
    """Models whose settings differ in the seed only.

    Attributes:
        kind: What the model is: its shape by the paper's names, and what it was trained on.
        training: How it was trained.
        members: The models, by seed.
    """

    kind: Facts
    training: Facts
    members: tuple[Trained, ...]


@dataclass(frozen=True)
class Curve:
    """Groups that differ in the setting of an axis.

    Attributes:
        label: What tells it apart from the other curves; empty for one curve.
        points: Group by value of the setting, ascending.
        mixed: Settings of the training that are not the same at all points.
    """

    label: str
    points: dict[float, Group]
    mixed: tuple[str, ...]


def grouped(models: Iterable[Trained]) -> list[Group]:
    """Return the groups of models: unified ones first, then by depth and width."""
    found: dict[str, list[Trained]] = {}
    facts: dict[str, tuple[Facts, Facts]] = {}
    for model in models:
        both = _facts(model)
        found.setdefault(repr(both), []).append(model)
        facts[repr(both)] = both
    groups = [
        Group(*facts[key], tuple(sorted(members, key=lambda m: m.config.seed)))
        for key, members in found.items()
    ]
    return sorted(groups, key=_place)


def _place(group: Group) -> tuple[int, int, int]:
    kind = group.kind
    return _KINDS.index(kind["model"]), kind["N_s"], kind["S"] or 0


def _facts(model: Trained) -> tuple[Facts, Facts]:
    """Return what a model is, and how it was trained."""
    shape, settings = model.shape, model.settings
    kind: Facts = {
        "model": shape.kind,
        "layers": shape.depth,
        "N_s": shape.shared_depth,
        "S": shape.upper_width if shape.shared_depth else None,
        "λ": settings["objective.audio_share"],
    }
    training: Facts = {}
    for key, value in sorted(settings.items()):
        if key not in _OF_A_REPEAT | _SPEED | _SHOWN_OTHERWISE:
            (kind if key.startswith(_KIND) else training)[key] = value
    return kind, training


def curves(groups: Sequence[Group], axis: Axis, least: int = 1) -> list[Curve]:
    """Return the curves over a setting that have so many points.

    A curve may join groups that were trained differently, as the paper's figures do, if each value
    of the setting then has one group. A model without shared blocks has no width S, and belongs to
    the curves over N_s of all widths.
    """
    found: dict[str, list[Group]] = {}
    for group in groups:
        if group.kind[axis] is not None and group.kind["S"] is not None:
            found.setdefault(_without(group, axis), []).append(group)
    if axis != "S":
        for group in groups:
            if group.kind["S"] is None:
                _join(found, group, axis)
    parts = [part for one in found.values() for part in _split(one, axis)]
    series = [part for part in parts if len(part) >= least]
    names = labels([_common(one, axis) for one in series])
    return [
        Curve(
            name,
            dict(sorted((float(group.kind[axis]), group) for group in one)),
            tuple(sorted({*one[0].training} - {*_common_training(one)})),
        )
        for name, one in zip(names, series, strict=True)
    ]


def _without(group: Group, *axes: str) -> str:
    return repr([(k, v) for k, v in sorted(group.kind.items()) if k not in axes])


def _join(found: dict[str, list[Group]], group: Group, axis: Axis) -> None:
    """Add a group without shared blocks to the curves that it fits, or begin one."""
    fits = [
        one
        for one in found.values()
        if axis == "N_s" and _without(one[0], axis, "S") == _without(group, axis, "S")
    ]
    for one in fits or [found.setdefault(_without(group, axis), [])]:
        one.append(group)


def _split(one: list[Group], axis: Axis) -> list[list[Group]]:
    """Return groups as one curve, or as several by training if two have the same value."""
    if max(Counter(group.kind[axis] for group in one).values()) == 1:
        return [one]
    parts: dict[str, list[Group]] = {}
    for group in one:
        parts.setdefault(repr(sorted(group.training.items())), []).append(group)
    return list(parts.values())


def _common(one: Sequence[Group], axis: Axis) -> Facts:
    """Return the facts that all groups of a curve share, but that of its axis."""
    facts = {
        key: value
        for key, value in one[0].kind.items()
        if all(group.kind[key] in (value, None) for group in one)
    }
    facts.pop(axis, None)
    return {**facts, **_common_training(one)}


def _common_training(one: Sequence[Group]) -> Facts:
    return {
        key: value
        for key, value in one[0].training.items()
        if all(group.training.get(key) == value for group in one)
    }


def group_labels(groups: Sequence[Group]) -> list[str]:
    """Return what tells each group apart from the others."""
    return labels([{**group.kind, **group.training} for group in groups])


def labels(facts: Sequence[Facts]) -> list[str]:
    """Return a short text for each set of facts that tells it apart from the others.

    A fact is in it if the facts before it do not suffice. Of settings other than the shape, the
    most common value is left out.

    Example:
        >>> labels([{"S": 16, "λ": 0.5}, {"S": 64, "λ": 0.5}, {"S": 64, "λ": 0.9}])
        ['S=16', 'S=64', 'S=64, λ=0.9']
        >>> labels([{"S": 16}])
        ['']
    """
    shown: list[str] = []
    for key in dict.fromkeys(key for one in facts for key in one):
        if _different(facts, [*shown, key]) > _different(facts, shown):
            shown.append(key)
    common = {
        key: Counter(repr(one.get(key)) for one in facts).most_common(1)[0][0]
        for key in shown
        if key not in _SHAPE
    }
    return [_text(one, shown, common) or _text(one, shown, {}) for one in facts]


def _text(facts: Facts, shown: Sequence[str], common: Facts) -> str:
    """Return some facts without those of a common value."""
    return ", ".join(
        str(facts[key]) if key in _BY_VALUE else f"{key}={facts[key]}"
        for key in shown
        if facts.get(key) is not None and repr(facts[key]) != common.get(key)
    )


def _different(facts: Sequence[Facts], keys: Sequence[str]) -> int:
    """Return the number of sets of facts that some keys tell apart."""
    return len({repr([one.get(key) for key in keys]) for one in facts})
