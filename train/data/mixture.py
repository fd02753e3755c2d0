"""Mixtures: every row of a batch comes from one of several sources, by weights that may change."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.order import Indices, Rows
from avstore.train.data.rng import Purpose, permutation, uniform, words
from avstore.train.data.samples import SampleList
from avstore.train.data.sources import Source
from avstore.train.data.spec import at_least

# Rows hold the number of their source as an int16.
_MOST = (1 << 15) - 1


@dataclass(frozen=True)
class Stretch:
    """From this step on (until the next stretch), a row comes from source i with weights[i]."""

    step: int
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Mixture:
    """An order of `steps` batches over several sources (see `sources`).

    Each source is gone through in a permutation of its own, again and again: none of its samples
    comes a second time before all have come once. Rows.origin is the source's number.
    """

    samples: SampleList
    sources: tuple[Source, ...]
    stretches: tuple[Stretch, ...]
    steps: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size")
        at_least(self, 0, "steps")
        if len(self.sources) > _MOST:
            raise ValueError(f"{len(self.sources)} sources; at most {_MOST} are mixed")
        if not self.stretches or self.stretches[0].step != 0:
            raise ValueError("the first stretch of a mixture starts at step 0")
        steps = [stretch.step for stretch in self.stretches]
        if steps != sorted(set(steps)):
            raise ValueError(f"the stretches of a mixture start at rising steps, not {steps}")
        for stretch in self.stretches:
            if len(stretch.weights) != len(self.sources):
                raise ValueError(
                    f"{len(stretch.weights)} weights from step {stretch.step} on for "
                    f"{len(self.sources)} sources"
                )
            known = all(0 <= weight < math.inf for weight in stretch.weights)
            if not known or sum(stretch.weights) <= 0:
                raise ValueError(
                    f"weights {stretch.weights} are not all numbers of at least 0, or are all 0"
                )

    def __len__(self) -> int:
        return self.steps

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over samples, sources, weights, settings and seed: all that it depends on."""
        digest = hashlib.sha256(self.samples.fingerprint.encode())
        stretches = [asdict(stretch) for stretch in self.stretches]
        settings = [stretches, self.steps, self.batch_size, self.seed]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for source in self.sources:
            digest.update(f"\n{source.name} {len(source)}\n".encode() + source.indices.tobytes())
        return digest.hexdigest()

    def rows(self, step: int) -> Rows:
        """The global batch of a step."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not one of {self.steps}")
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        origin = self._choices[places]
        indices = np.empty(len(places), np.int64)
        for number, source in enumerate(self.sources):
            mine = origin == number
            if mine.any():
                indices[mine] = self._drawn(number, source, self._turns[places[mine]])
        return Rows(step, 0, indices, places, origin, np.zeros(len(places), np.bool_))

    def pool(self, rows: Rows, at: int) -> Indices:
        """Samples of the row's own source, which alone it may be mixed with."""
        return self.sources[int(rows.origin[at])].indices

    def _drawn(self, number: int, source: Source, turns: Indices) -> Indices:
        """The samples of the source's draws of these numbers."""
        found = np.empty(len(turns), np.int64)
        for lap in np.unique(turns // len(source)):
            mine = turns // len(source) == lap
            # Laps of different sources have different orders: lap and number make one epoch.
            order = permutation(len(source), self.seed, int(lap) * len(self.sources) + number)
            found[mine] = source.indices[order[turns[mine] % len(source)]]
        return found

    @cached_property
    def _choices(self) -> NDArray[np.int16]:
        """The source of every row of the run."""
        drawn = uniform(words(self.steps * self.batch_size, self.seed, Purpose.SOURCE))
        chosen = np.empty(len(drawn), np.int16)
        ends = [stretch.step for stretch in self.stretches[1:]] + [max(self.steps, 1 << 62)]
        for stretch, end in zip(self.stretches, ends, strict=True):
            part = slice(stretch.step * self.batch_size, end * self.batch_size)
            edges = np.cumsum(stretch.weights) / sum(stretch.weights)
            picked = np.searchsorted(edges, drawn[part], side="right")
            chosen[part] = np.minimum(picked, _last(stretch.weights))
        return chosen

    @cached_property
    def _turns(self) -> Indices:
        """Of every row, how many rows before it came from the same source."""
        turns = np.empty(len(self._choices), np.int64)
        for number in range(len(self.sources)):
            mine = np.flatnonzero(self._choices == number)
            turns[mine] = np.arange(len(mine))
        return turns

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def _last(weights: Sequence[float]) -> int:
    """The last source that may be drawn."""
    return max(number for number, weight in enumerate(weights) if weight > 0)
