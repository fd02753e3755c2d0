"""UAVM's released files: their names and shapes load, and what does not fit is named."""

import re
from pathlib import Path

import pytest
import torch

from avstore.train.errors import UserError
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from avstore.train.systems.uavm.weights import load_released, load_weights
from tests.train.systems.uavm.released import State, checkpoint, weights

TINY = UAVMConfig(classes=5, input_width=24, width=16, heads=2)


def saved(state: State, folder: Path) -> Path:
    torch.save({f"module.{name}": value for name, value in state.items()}, folder / "model.pth")
    return folder / "model.pth"


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"shared_width": 8, "rows": 4},
        {"own_depth": 0, "shared_depth": 6, "rows": 4},
        {"own_depth": 6, "shared_depth": 0, "rows": 4},
        {"kind": "independent", "shared_width": 8},
        {"kind": "cross_attention", "rows": 4},
        {"kind": "cross_attention", "own_depth": 0, "shared_depth": 2},
    ],
)
def test_a_released_file_gives_a_model_of_its_shape(
    shape: dict[str, object], tmp_path: Path
) -> None:
    config = UAVMConfig(**{**TINY.model_dump(), **shape})
    state = weights(config)
    model = load_released(saved(state, tmp_path), heads=2)
    assert model.config == config
    values = sorted(float(x.double().sum()) for x in state.values())
    assert sorted(float(x.double().sum()) for x in model.state_dict().values()) == values


def test_the_names_of_the_full_size_load(tmp_path: Path) -> None:
    shapes = checkpoint(UAVMConfig())
    assert len(shapes) == 126
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}  # a small file
    assert load_released(saved(state, tmp_path)).config == UAVMConfig()


def test_a_state_dict_of_a_run_loads(tmp_path: Path) -> None:
    first, second = UAVM(TINY), UAVM(TINY)
    torch.save({"config": {}, "model": first.state_dict()}, tmp_path / "latest.pt")
    load_weights(second, tmp_path / "latest.pt")
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"classes": 6}, "does not fit: another shape: own.audio.head.1.bias (5,) for (6,)"),
        ({"own_depth": 4}, "does not fit: not in the file: own.audio.blocks.3."),
        ({"shared_depth": 2}, "does not fit: not in the model: upper.both.blocks.2."),
        ({"kind": "independent"}, "does not fit: not in the file: upper.audio."),
        ({"kind": "cross_attention"}, "another shape: upper.both.pos (1, 30, 16) for (1, 60, 16)"),
    ],
)
def test_a_released_file_of_another_shape_is_named(
    shape: dict[str, object], message: str, tmp_path: Path
) -> None:
    model = UAVM(UAVMConfig(**{**TINY.model_dump(), **shape}))
    with pytest.raises(UserError, match=re.escape(message)):
        load_weights(model, saved(weights(TINY), tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise.weight": torch.zeros(1)}, "without a place in the model: surprise.weight"),
        ({"a_trans.pos_embed": torch.zeros(3)}, "not from UAVM's released classes"),
        ({"s_trans.mlp_head.1.bias": torch.tensor(1.0)}, "not from UAVM's released classes"),
    ],
)
def test_strange_files_are_named(change: State, message: str, tmp_path: Path) -> None:
    path = saved(weights(TINY) | change, tmp_path)
    with pytest.raises(UserError, match=message):
        load_released(path, heads=2)


def test_other_models_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"released classes; its keys begin with fc\.weight"):
        load_released(saved({"fc.weight": torch.zeros(1)}, tmp_path))
    with pytest.raises(UserError, match=r"does not fit 3 heads: .*16 / 3"):
        load_released(saved(weights(TINY), tmp_path), heads=3)
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"broken\.pth is not a readable checkpoint"):
        load_released(tmp_path / "broken.pth")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pth")
    with pytest.raises(UserError, match="is not a state dict of tensors"):
        load_released(tmp_path / "numbers.pth")
