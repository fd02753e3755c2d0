"""The contents of a rehearsal memory as a function of the seed: nothing to save, all to rebuild.

Item n (from 0) that is offered takes slot n while there is room, afterwards slot r, drawn evenly
from 0 … n, if r is below the capacity (reservoir sampling, Vitter 1985): at any time every item
offered so far is held with the same probability.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.rng import Purpose, generator, uniform, words


@dataclass(frozen=True)
class Reservoir:
    """capacity: items held. offered: how many the run will offer at most."""

    capacity: int
    offered: int
    seed: int

    def held(self, count: int) -> NDArray[np.int64]:
        """Numbers of the items that are held when `count` were offered, by slot."""
        count = min(count, self.offered)
        slots = self._slots[:count]
        kept = np.flatnonzero(slots < self.capacity)
        found = np.empty(min(count, self.capacity), np.int64)
        found[slots[kept]] = kept  # the last item of a slot stays
        return found

    def drawn(self, count: int, rows: int, step: int) -> NDArray[np.int64]:
        """`rows` of the items held (fewer if there are fewer), without replacement, for a step."""
        held = self.held(count)
        choices = generator(self.seed, Purpose.REPLAY, 0, step)
        return held[choices.permutation(len(held))[:rows]]

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """The slot of every item; beyond the capacity: not taken in."""
        numbers = np.arange(self.offered)
        drawn = uniform(words(self.offered, self.seed, Purpose.RESERVOIR)) * (numbers + 1)
        return np.where(numbers < self.capacity, numbers, drawn.astype(np.int64))

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
