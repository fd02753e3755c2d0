"""What `verify` reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A disagreement in the store.

    Attributes:
        where: A path relative to the store, or a clip id.
        what: The values that disagree.
    """

    where: str
    what: str
