"""Fill batches across clips: a model sees full batches however few items a clip has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch, FeatureError

Item = tuple[int, int, NDArray[Any]]
"""(clip's position, row, content)."""


@dataclass
class _Filling:
    """Items that wait for a batch, by shape (frames of several sizes cannot be stacked)."""

    size: int
    waiting: dict[tuple[Any, ...], list[Item]] = field(default_factory=dict)

    def add(self, item: Item) -> list[Item]:
        """A full batch, or nothing yet. At most four batches of items wait."""
        content = item[2]
        key = (
            content.shape,
            content.dtype.kind if content.dtype.kind == "U" else content.dtype.str,
        )
        rows = self.waiting.setdefault(key, [])
        rows.append(item)
        if len(rows) >= self.size:
            return self.waiting.pop(key)
        if sum(map(len, self.waiting.values())) >= 4 * self.size:
            return self.waiting.pop(max(self.waiting, key=lambda k: len(self.waiting[k])))
        return []

    def rest(self) -> Iterator[list[Item]]:
        while self.waiting:
            yield self.waiting.pop(next(iter(self.waiting)))


def batched(
    clips: Iterable[tuple[int, NDArray[Any]]], run: Batch, size: int
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each clip's outputs (n, …) in the order of `clips`, given as (position, items (n, …)).

    How items fall into batches depends on the clips and `size` alone.
    """
    filling = _Filling(size)
    outputs: dict[int, list[Any]] = {}
    missing: dict[int, int] = {}
    for position, items in clips:
        if not len(items):
            raise FeatureError(f"the clip at position {position} gave no items for the model")
        outputs[position] = [None] * len(items)
        missing[position] = len(items)
        for row, content in enumerate(items):
            if full := filling.add((position, row, np.asarray(content))):
                _run(full, run, outputs, missing)
        yield from _finished(outputs, missing)
    for last in filling.rest():
        _run(last, run, outputs, missing)
    yield from _finished(outputs, missing)


def _run(
    batch: list[Item], run: Batch, outputs: dict[int, list[Any]], missing: dict[int, int]
) -> None:
    given = np.stack([content for _, _, content in batch])
    found = run(given)
    if len(found) != len(batch):
        raise FeatureError(f"a batch of {len(batch)} items gave {len(found)} outputs")
    for (position, row, _), output in zip(batch, found, strict=True):
        outputs[position][row] = output
        missing[position] -= 1


def _finished(
    outputs: dict[int, list[Any]], missing: dict[int, int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The clips at the front that are complete, in order."""
    while outputs and not missing[next(iter(outputs))]:
        position = next(iter(outputs))
        del missing[position]
        yield position, np.stack(outputs.pop(position))
