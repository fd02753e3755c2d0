"""The contents of a rehearsal memory at any time, as a function of the seed: none are saved."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.rng import Purpose, generator, philox, uniform

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Reservoir:
    """Reservoir sampling (Vitter 1985).

    Item n (from 0) takes slot n while there is room, afterwards slot r, drawn evenly from [0, n],
    if r is below the capacity. At any time every item offered so far is held with the same
    probability. Of all items offered, only those that took a slot are kept in memory: about
    capacity · (1 + ln(offered / capacity)).

    Attributes:
        capacity: Number of items held.
        offered: Number of items that the run offers.
        seed: Seed in [0, 2^64).
        number: Number of the reservoir: each has random numbers of its own.
    """

    capacity: int
    offered: int
    seed: int
    number: int = 0

    def held(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of the items held after `count` were offered, by slot."""
        return self.items(np.arange(min(count, self.capacity)), count)

    def items(self, slots: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the items in some slots, which are taken, after `count` items were offered."""
        if not len(slots):
            return np.zeros(0, np.int64)
        place = np.searchsorted(self._taken, slots * self.offered + min(count, self.offered)) - 1
        return self._taken[place] % self.offered

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots that the items [start, stop) hold once all of them were offered.

        -1 for items that took none, or lost it to a later one of them.
        """
        found = np.full(stop - start, -1, np.int64)
        by_item, slots = self._by_item
        first, last = np.searchsorted(by_item, (start, stop))
        for item, slot in zip(by_item[first:last], slots[first:last], strict=True):
            found[found == slot] = -1
            found[item - start] = slot
        return found

    def draw(self, count: int, rows: int, step: int) -> NDArray[np.int64]:
        """Return at most `rows` slots that are taken, drawn without replacement for a step.

        Args:
            count: Number of items offered before the step.
            rows: Number of slots to draw; fewer if fewer are taken.
            step: The step, which with the seed decides the draw.
        """
        choices = generator(self.seed, Purpose.REPLAY, self.number, step)
        return choices.permutation(min(count, self.capacity))[:rows]

    @cached_property
    def _taken(self) -> NDArray[np.int64]:
        """Slot · offered + item of every item that takes a slot, sorted."""
        by_item, slots = self._by_item
        return np.sort(slots * self.offered + by_item)

    @cached_property
    def _by_item(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every item that takes a slot, in order, and its slot."""
        bits = philox(self.seed, Purpose.RESERVOIR, self.number)
        items, slots = [], []
        for start in range(0, self.offered, _CHUNK):
            numbers = np.arange(start, min(start + _CHUNK, self.offered))
            drawn = uniform(bits.random_raw(len(numbers))) * (numbers + 1)
            slot = np.where(numbers < self.capacity, numbers, drawn.astype(np.int64))
            takes = slot < self.capacity
            items.append(numbers[takes])
            slots.append(slot[takes])
        empty = np.zeros(0, np.int64)
        return np.concatenate([empty, *items]), np.concatenate([empty, *slots])

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
