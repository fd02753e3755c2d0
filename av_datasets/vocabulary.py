"""Load label vocabularies and look up labels by name."""

import csv
import difflib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from avstore.datasets.lines import RowError
from avstore.datasets.spec import Label

_MAX_HINTS = 500


@cache
def load_vocabulary(file: str) -> tuple[Label, ...]:
    """Load the vocabulary data/<file>, a CSV with columns id, label and optional mid, category."""
    text = files("avstore.datasets").joinpath("data", file).read_text(encoding="utf-8")
    return tuple(
        Label(int(row["id"]), row["label"], row.get("mid") or None, row.get("category") or None)
        for row in csv.DictReader(text.splitlines())
    )


class LabelLookup:
    """Find labels by the name that an annotation file uses.

    Args:
        labels: (name, label) of each label.
    """

    def __init__(self, labels: Iterable[tuple[str, Label]]) -> None:
        self._labels = dict(labels)
        self._hints: dict[str, str] = {}

    def get(self, name: str) -> Label | None:
        """Return the label, or None."""
        return self._labels.get(name)

    def require(self, name: str) -> Label:
        """Return the label.

        Raises:
            RowError: The name is unknown; the message names the nearest label (for the first
                500 unknown names, as the search is slow).
        """
        if label := self._labels.get(name):
            return label
        if name not in self._hints and len(self._hints) < _MAX_HINTS:
            near = difflib.get_close_matches(name, self._labels, n=1, cutoff=0.0)
            self._hints[name] = f"; the nearest known one is {near[0]!r}" if near else ""
        raise RowError(f"unknown label {name!r}{self._hints.get(name, '')}")
