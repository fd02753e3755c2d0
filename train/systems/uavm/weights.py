"""Load UAVM's released models (`*_uavm.pth` and the like), whose names become ours.

The released files are state dicts of classes in DataParallel: `module.a_trans.blocks.0.…`.
"""

import re
from pathlib import Path

from pydantic import ValidationError

from avstore.train.errors import UserError
from avstore.train.systems.state_dicts import (
    State,
    fit_state_dict,
    read_state_dict,
    renamed,
    some_of,
)
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig

# The released classes' modules, and ours; {side} is the word for the letter.
_MODULES: tuple[tuple[str, str], ...] = (
    (r"(?P<side>[av])_trans", "own.{side}"),
    (r"(?P<side>[av])_in_proj", "own.{side}"),
    (r"(?P<side>[av])_s_trans", "upper.{side}"),
    (r"s_trans", "upper.both"),
    (r"(?P<side>[av])_mlp", "heads.{side}"),
)
_LAYERS = {
    "in_layernorm": "norm", "in_proj": "project", "pos_embed": "pos", "mlp_head": "head",
}  # fmt: skip
_SIDES = {"a": "audio", "v": "video", None: ""}


def load_released(path: Path, heads: int = 4) -> UAVM:
    """Return a released model, of the shape that its tensors have.

    Args:
        path: The file.
        heads: Attention heads, which no tensor shows; 4 in all released models.

    Raises:
        UserError: The file is damaged, or of another model.
    """
    state = read_state_dict(path)
    model = UAVM(_config(state, heads, path))
    fit_state_dict(model, renamed(state, _rename, path), path)
    return model


def load_weights(model: UAVM, path: Path) -> None:
    """Load a file into a model: a released one, or a state dict of this class.

    Raises:
        UserError: The file is damaged, or its tensors do not fit; the error names them.
    """
    state = read_state_dict(path)
    if not state.keys() & model.state_dict().keys():
        state = renamed(state, _rename, path)
    fit_state_dict(model, state, path)


def _rename(name: str) -> str | None:
    module, _, rest = name.partition(".")
    for pattern, ours in _MODULES:
        if match := re.fullmatch(pattern, module):
            layer, dot, inner = rest.partition(".")
            place = ours.format(side=_SIDES[match.groupdict().get("side")])
            return f"{place}.{_LAYERS.get(layer, layer)}{dot}{inner}"
    return None


def _config(state: State, heads: int, path: Path) -> UAVMConfig:
    """Return the shape of a released model."""
    try:
        return _shape(state, heads)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{path} does not fit {heads} heads: {reason}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not from UAVM's released classes; its keys begin with {some_of(state)}"
        ) from error


def _shape(state: State, heads: int) -> UAVMConfig:
    own_depth = _blocks(state, "a_trans")
    if own_depth:
        norm = state["a_trans.in_layernorm.weight"]
        rows, width = state["a_trans.pos_embed"].shape[1:]
    else:  # only the upper stage, if any, shows the rows
        norm = state["a_in_proj.0.weight"]
        rows, width = UAVMConfig().rows, len(state["a_in_proj.1.bias"])
    upper = "a_s_trans" if "a_s_trans.pos_embed" in state else "s_trans"
    shared_depth = _blocks(state, upper)
    all_rows, upper_width = rows, width
    if shared_depth:
        all_rows, upper_width = state[f"{upper}.pos_embed"].shape[1:]
    cross = all_rows == 2 * rows
    head = state[f"{upper}.mlp_head.1.bias" if shared_depth else "a_mlp.1.bias"]
    return UAVMConfig(
        kind="cross_attention" if cross else "unified" if upper == "s_trans" else "independent",
        classes=len(head),
        input_width=len(norm),
        width=width,
        shared_width=None if upper_width == width else upper_width,
        heads=heads,
        own_depth=own_depth,
        shared_depth=shared_depth,
        rows=rows if cross else all_rows,
    )


def _blocks(state: State, module: str) -> int:
    return len({k.split(".")[2] for k in state if k.startswith(f"{module}.blocks.")})
