"""Which models a figure puts together, on configurations like those of the paper's figures."""

from pathlib import Path

import pytest

from avstore.train.config import load_config
from avstore.train.systems.uavm.figures.groups import Axis, Curve, curves, group_labels, grouped
from avstore.train.systems.uavm.figures.trained import Trained


def model(name: str, *sets: str, seed: int = 0) -> Trained:
    config = load_config("uavm", {"seed": seed}, list(sets))
    return Trained(name, config, Path(f"{name}.pt"), None)


def width(size: int, *more: str, seed: int = 0) -> Trained:
    return model(f"{size}-{seed}-{more}", f"model.shared_width={size}", *more, seed=seed)


def points(curve: Curve) -> dict[float, int]:
    """Number of repeats at each point."""
    return {x: len(group.members) for x, group in curve.points.items()}


def over(models: list[Trained], axis: Axis, least: int = 1) -> list[Curve]:
    return curves(grouped(models), axis, least)


def test_repeats_differ_in_the_seed_and_in_what_does_not_change_a_result() -> None:
    models = [width(16, seed=1), width(16), width(16, "eval_batch=7", seed=2), width(64)]
    groups = grouped(models)
    assert [[m.config.seed for m in group.members] for group in groups] == [[0, 1, 2], [0]]
    assert group_labels(groups) == ["S=16", "S=64"]


def test_a_curve_joins_models_of_other_schedules_as_the_paper_does() -> None:
    plateau = ("optim.schedule=plateau", "optim.plateau_patience=2")
    models = [width(16, *plateau), width(64, *plateau), width(1024)]
    (curve,) = over(models, "S")
    assert list(curve.points) == [16, 64, 1024]
    assert "optim.schedule" in curve.mixed
    assert curve.label == ""


def test_two_trainings_of_a_width_are_two_curves() -> None:
    models = [width(16), width(64), width(16, "optim.lr=5e-4")]
    assert [(c.label, list(c.points), c.mixed) for c in over(models, "S")] == [
        ("optim.lr=5e-05", [16, 64], ()),
        ("optim.lr=0.0005", [16], ()),
    ]
    (drawn,) = over(models, "S", least=2)
    assert drawn.label == ""


def test_a_model_without_shared_blocks_is_in_the_curves_of_all_widths() -> None:
    models = [
        *(width(128, f"model.own_depth={6 - n}", f"model.shared_depth={n}") for n in (3, 6)),
        *(width(16, f"model.own_depth={6 - n}", f"model.shared_depth={n}") for n in (3,)),
        model("independent", "model.own_depth=6", "model.shared_depth=0"),
    ]
    found = over(models, "N_s")
    assert {c.label: list(c.points) for c in found} == {"S=128": [0, 3, 6], "S=16": [0, 3]}
    assert [list(c.points) for c in over(models, "S", least=2)] == [[16, 128]]
    (apart,) = over([models[-1]], "N_s")
    assert list(apart.points) == [0]


@pytest.mark.parametrize("axis", ["S", "N_s", "λ"])
def test_kinds_are_curves_of_their_own(axis: Axis) -> None:
    kinds = ["unified", "independent", "cross_attention"]
    models = [model(kind, f"model.kind={kind}") for kind in kinds]
    assert [curve.label for curve in over(models, axis)] == kinds


def test_repeats_are_counted_at_each_point() -> None:
    shares = (0.1, 0.5, 0.9)
    models = [
        model(f"{share}-{seed}", f"objective.audio_share={share}", seed=seed)
        for share in shares
        for seed in range(3)
    ]
    (curve,) = over(models, "λ")
    assert points(curve) == dict.fromkeys(shares, 3)
