"""Load the weights that a run starts from."""

from pathlib import Path

from torch import nn

from avstore.train.errors import UserError
from avstore.train.methods.base import Method
from avstore.train.systems.cavmae.published_matching import matching_from_stella
from avstore.train.systems.cavmae.weights import PREFIXES
from avstore.train.systems.state_dicts import fit_state_dict, read_state_dict


def load_initial(method: Method, init: str | None, avm_init: str | None) -> None:
    """Load weights into a method's system, its copies and its matching module.

    Args:
        method: The method.
        init: File for the system, None for none.
        avm_init: File for the matching module, None for none.

    Raises:
        UserError: A file does not fit.
    """
    if init:
        method.objective.load(Path(init))
        for name in ("plastic", "stable"):
            if isinstance(copy := getattr(method, name, None), nn.Module):
                copy.load_state_dict(method.objective.state_dict())
    if avm_init:
        avm = getattr(method, "avm", None)
        if not isinstance(avm, nn.Module):
            raise UserError(
                f"avm_init = {avm_init!r}, but this method has no matching module; leave it out or "
                "use stella, stella_plus, flava or avm"
            )
        state = read_state_dict(Path(avm_init), ("avm", "method", "model", "state_dict"), PREFIXES)
        own = {k.removeprefix("avm."): v for k, v in state.items() if k.startswith("avm.")}
        fit_state_dict(avm, matching_from_stella(state) or own or state, Path(avm_init))
