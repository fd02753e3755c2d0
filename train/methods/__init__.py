"""Continual-learning methods, one file each, by name; `module:Class` gives one of your own."""

import importlib
import sys
from pathlib import Path

from train.errors import UserError
from train.methods.base import Inputs, MemoryOptions, Method, Options, ReplayMethod, Setup

METHODS: dict[str, str] = {
    "finetune": "train.methods.finetune:Finetune",
    "joint": "train.methods.joint:Joint",
    "er": "train.methods.er:ER",
    "mir": "train.methods.mir:MIR",
    "derpp": "train.methods.derpp:DERpp",
    "gmed": "train.methods.gmed:GMED",
    "clser": "train.methods.clser:CLSER",
    "lump": "train.methods.lump:LUMP",
    "esmer": "train.methods.esmer:ESMER",
    "random": "train.methods.random:RandomPatches",
    "mats": "train.methods.mats:MATS",
    "flava": "train.methods.flava:FLAVA",
    "stella": "train.methods.stella:STELLA",
    "stella_plus": "train.methods.stella_plus:STELLAPlus",
    "avm": "train.methods.avm_pretrain:MatchingPretraining",
}

__all__ = [
    "METHODS",
    "Inputs",
    "MemoryOptions",
    "Method",
    "Options",
    "ReplayMethod",
    "Setup",
    "find_method",
]


def find_method(name: str) -> type[Method]:
    """The class of a method by its name, or by `module:Class`; a UserError where there is none."""
    target = METHODS.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        raise UserError(
            f"no method {name!r}; there are: {', '.join(METHODS)}, or module:Class for your own"
        )
    if name not in METHODS and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # one's own file is usually where one stands
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"method {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"method {name!r} is not a subclass of train.methods.Method")
    return found
