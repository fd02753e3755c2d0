"""Check values of settings."""

from numbers import Integral
from typing import get_args


def require_choice(settings: object, **choices: object) -> None:
    """Raise ValueError for a value that is not one of its choices (None: not set)."""
    for name, kind in choices.items():
        value, known = getattr(settings, name), get_args(kind)
        if value is not None and value not in known:
            raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")


def require_probability(settings: object, *names: str) -> None:
    """Raise ValueError for a value that is not in [0, 1]."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} is not in [0, 1]")


def require_at_least(settings: object, least: int, *names: str) -> None:
    """Raise ValueError for a value that is no integer of at least `least` (None: not set)."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (isinstance(value, Integral) and int(value) >= least):
            raise ValueError(f"{name}={value!r} is not an integer of at least {least}")
