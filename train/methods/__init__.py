"""Continual-learning methods, one file each, by name or as `module:Class`."""

import inspect

from avstore.datasets.references import load_object
from avstore.manifests.nearest import did_you_mean
from avstore.train.errors import UserError
from avstore.train.methods.base import MemoryOptions, Method, Options, ReplayMethod, Setup

_LOSSES = 3  # parameters of Method.losses: self, batch, past

METHODS: dict[str, str] = {
    "finetune": "avstore.train.methods.finetune:Finetune",
    "joint": "avstore.train.methods.joint:Joint",
    "er": "avstore.train.methods.er:ER",
    "mir": "avstore.train.methods.mir:MIR",
    "derpp": "avstore.train.methods.derpp:DERpp",
    "gmed": "avstore.train.methods.gmed:GMED",
    "clser": "avstore.train.methods.clser:CLSER",
    "lump": "avstore.train.methods.lump:LUMP",
    "esmer": "avstore.train.methods.esmer:ESMER",
    "ewc": "avstore.train.methods.ewc:EWC",
    "lwf": "avstore.train.methods.lwf:LwF",
    "icarl": "avstore.train.methods.icarl:ICaRL",
    "random": "avstore.train.methods.random:RandomPatches",
    "mats": "avstore.train.methods.mats:MATS",
    "flava": "avstore.train.methods.flava:FLAVA",
    "stella": "avstore.train.methods.stella:STELLA",
    "stella_plus": "avstore.train.methods.stella_plus:STELLAPlus",
    "avm": "avstore.train.methods.avm_pretrain:MatchingPretraining",
}

__all__ = [
    "METHODS",
    "MemoryOptions",
    "Method",
    "Options",
    "ReplayMethod",
    "Setup",
    "find_method",
]


def find_method(name: str) -> type[Method]:
    """Return the class of a method.

    Args:
        name: A name of `METHODS`, or `module:Class`, importable from the current directory.

    Raises:
        UserError: The method does not exist or is not a subclass of `Method`.
    """
    target = METHODS.get(name, name)
    if ":" not in target:
        raise UserError(
            f"no method {name!r}{did_you_mean(name, METHODS)}; there are: {', '.join(METHODS)}, or "
            "give module:Class"
        )
    try:
        found = load_object(target)
    except LookupError as error:
        raise UserError(f"method {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"method {name!r} is not a subclass of avstore.train.methods.Method")
    if len(inspect.signature(found.losses).parameters) != _LOSSES:
        raise UserError(
            f"method {name!r}: its losses{inspect.signature(found.losses)} must be "
            "losses(self, batch, past), where past are replayed rows or None"
        )
    return found
