"""Label vocabularies kept as data beside the datasets, and names that are nearly right."""

import csv
import difflib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from avstore.datasets.lines import RowError
from avstore.datasets.spec import Label

_HINTS = 500


@cache
def load_vocabulary(file: str) -> tuple[Label, ...]:
    """`data/<file>`: a CSV with the columns id, label and, where there are any, mid, category."""
    text = files("avstore.datasets").joinpath("data", file).read_text(encoding="utf-8")
    return tuple(
        Label(int(row["id"]), row["label"], row.get("mid") or None, row.get("category") or None)
        for row in csv.DictReader(text.splitlines())
    )


class Names:
    """Labels by the name an annotation file uses, with the nearest one for a name not known."""

    def __init__(self, labels: Iterable[tuple[str, Label]]) -> None:
        self._known = dict(labels)
        self._hints: dict[str, str] = {}

    def get(self, name: str) -> Label | None:
        return self._known.get(name)

    def require(self, name: str) -> Label:
        """The label. Raises RowError naming the nearest known one (for the first of many)."""
        if label := self._known.get(name):
            return label
        if name not in self._hints and len(self._hints) < _HINTS:
            near = difflib.get_close_matches(name, self._known, n=1, cutoff=0.0)
            self._hints[name] = f"; the nearest known one is {near[0]!r}" if near else ""
        raise RowError(f"unknown label {name!r}{self._hints.get(name, '')}")
