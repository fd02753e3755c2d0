"""Load weights into a model: from a run, or from a published file.

Loading fails on any key that is missing, unknown or of another shape, and names it.
"""

from pathlib import Path
from typing import Any

from avstore.train.errors import UserError
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.published_weights import Adapted, adapter_of
from avstore.train.systems.state_dicts import (
    State,
    fit_state_dict,
    read_state_dict,
    saved_config,
    some_of,
)

PREFIXES = ("module.", "backbone.", "transformer.")  # of DDP, and of STELLA's wrappers


def load_backbone(model: CAVMAE, path: Path) -> Adapted:
    """Load a file of any known kind.

    Raises:
        UserError: Naming the keys that do not fit.
    """
    state = read_state_dict(path, prefixes=PREFIXES)
    adapted = adapter_of(state, path)(state, model.config)
    unmatched = state.keys() - adapted.used - adapted.left_out.keys()
    if unmatched:
        raise UserError(f"{path} has keys without a place in the model: {some_of(unmatched)}")
    own = {key: value for key, value in model.state_dict().items() if key in adapted.kept}
    fit_state_dict(model, {**adapted.state, **own}, path)
    return adapted


def read_head(path: Path, prefixes: tuple[str, ...] = ("head.",)) -> State:
    """Return the head of a file of weights by the names after a prefix; empty without any.

    Args:
        path: The file.
        prefixes: Prefixes to look for: "head." is ours, "mlp_head." CAV-MAE's.
    """
    state = read_state_dict(path, prefixes=PREFIXES)
    for prefix in prefixes:
        if found := {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}:
            return found
    return {}


def saved_shape(path: Path) -> dict[str, Any] | None:
    """Return the model configuration in a checkpoint of this trainer, None for other files.

    Raises:
        UserError: The file does not exist, or is of another system.
    """
    config = saved_config(path)
    if (system := config.get("system", "cavmae")) != "cavmae":
        raise UserError(
            f"{path} holds weights of the system {system}; evaluate.py scores CAV-MAE's, and "
            "train/run.py those of other systems"
        )
    shape = config.get("model")
    return dict(shape) if isinstance(shape, dict) else None
