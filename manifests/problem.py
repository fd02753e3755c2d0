"""What `verify` finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that does not agree. where: a path or a clip; what: in words, with the values."""

    where: str
    what: str
