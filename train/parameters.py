"""What an optimiser must know of a model's parameters, by their names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _none(_name: str) -> bool:
    return False


@dataclass(frozen=True)
class ParameterLayout:
    """How the parameters of a model are decayed and layered.

    Attributes:
        undecayed: Whether weight decay leaves a matrix alone: position tables, tokens.
        levels: Parts of names that mark each level of blocks, from the lowest; the rest is on top.
    """

    undecayed: Callable[[str], bool] = _none
    levels: Sequence[Sequence[str]] = ()
