"""What `verify` reports."""

from dataclasses import dataclass

INDEX = ("index",)
FEATURES = ("features", "stale")


@dataclass(frozen=True)
class Problem:
    """A disagreement in the store.

    Attributes:
        where: A path relative to the store, or a clip id.
        what: The values that disagree.
        remedy: Words of the `avstore` command that mends it, such as `INDEX`; () for none.
    """

    where: str
    what: str
    remedy: tuple[str, ...] = ()
