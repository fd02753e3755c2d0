"""Mix several sources: every row of a batch comes from one of them, by weights that may change."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import OpenStore
from avstore.manifests.schema import sql_name
from avstore.manifests.store import StoreError
from avstore.train.data.order import Indices, Rows
from avstore.train.data.query import sample_list
from avstore.train.data.rng import Purpose, permutation, uniform, words
from avstore.train.data.samples import SampleList
from avstore.train.data.setting_checks import require_at_least
from avstore.train.data.shared_table import SharedTable

# `Rows.origin` is an int16.
_MAX_SOURCES = (1 << 15) - 1
# Bits of one mask column.
_BITS = 64


@dataclass(frozen=True)
class QuerySource:
    """The samples of one of several queries over a common list (see `sources`).

    Attributes:
        name: Name of the query.
        indices: int64, the samples' indices in the common list, ascending.

    Example:
        >>> samples, (source,) = sources(
        ...     open_store("data"), {"test": "SELECT clip_id FROM clips WHERE split = 'test'"}
        ... )
        >>> isinstance(source, QuerySource), source.name, len(source)
        (True, 'test', 5)
    """

    name: str
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


def sources(
    store: OpenStore, queries: Mapping[str, str], **options: Any
) -> tuple[SampleList, tuple[QuerySource, ...]]:
    """Return one list of all clips that the queries select, and each query's part of it.

    Args:
        store: The store.
        queries: Name to SQL query.
        options: Options of `sample_list`.

    Raises:
        StoreError: If there is no query, or no clip of one of them is stored.

    Example:
        >>> queries = {
        ...     "train": "SELECT clip_id FROM clips WHERE split = 'train'",
        ...     "test": "SELECT clip_id FROM clips WHERE split = 'test'",
        ... }
        >>> samples, (train, test) = sources(open_store("data"), queries)
        >>> len(samples), len(train), len(test)
        (23, 18, 5)
    """
    if not queries:
        raise StoreError("there is no query: give at least one")
    parts, masks = _marked(list(queries.values()), options.get("columns", ()))
    samples = sample_list(store, " UNION ALL ".join(parts), masks=masks, **options)
    bits = [samples.numbers(mask) for mask in masks]
    found = []
    for number, (name, sql) in enumerate(queries.items()):
        bit = np.uint64(1 << number % _BITS)
        found.append(QuerySource(name, np.flatnonzero(bits[number // _BITS] & bit)))
        if not len(found[-1]):
            raise StoreError(f"no clip of the query {name!r} is stored: {sql[:200]}")
    table = samples.table.drop_columns(masks)
    return replace(samples, columns=SharedTable(table)), tuple(found)


def _marked(queries: list[str], kept: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the queries, each with its own bit set in mask columns, and those columns' names.

    The columns `kept` of each query are kept.
    """
    masks = [f"mask_{number}" for number in range(-(-len(queries) // _BITS))]
    marked = []
    for number, sql in enumerate(queries):
        values = [
            1 << number % _BITS if mask == number // _BITS else 0 for mask in range(len(masks))
        ]
        columns = ", ".join(
            [f"{value}::UBIGINT AS {mask}" for value, mask in zip(values, masks, strict=True)]
            + [sql_name(name) for name in kept]
        )
        marked.append(f"SELECT clip_id, {columns} FROM ({sql.strip().rstrip(';')}\n)")
    return marked, masks


@dataclass(frozen=True)
class WeightPhase:
    """The sources' weights from a step on, until the next phase.

    Attributes:
        step: First step of the phase.
        weights: A row comes from source i in proportion to weights[i].

    Example:
        >>> WeightPhase(step=0, weights=(1, 3))
        WeightPhase(step=0, weights=(1, 3))
    """

    step: int
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Mixture:
    """An order of `steps` batches over several sources.

    Each source is permuted again and again: none of its samples comes a second time before all
    have come once. `Rows.origin` is the source's number.

    Attributes:
        samples: The common list.
        sources: Each source's part of it.
        phases: Weights by step; the first phase starts at step 0.
        steps: Number of batches.
        batch_size: Rows of a global batch.
        seed: Seed in [0, 2^64).

    Example:
        >>> samples, parts = sources(
        ...     open_store("data"),
        ...     {
        ...         "train": "SELECT clip_id FROM clips WHERE split = 'train'",
        ...         "test": "SELECT clip_id FROM clips WHERE split = 'test'",
        ...     },
        ... )
        >>> phases = (WeightPhase(0, (1, 0)), WeightPhase(5, (0, 1)))
        >>> mixture = Mixture(samples, parts, phases, steps=10, batch_size=4, seed=0)
        >>> mixture.rows(4).origin.tolist(), mixture.rows(5).origin.tolist()
        ([0, 0, 0, 0], [1, 1, 1, 1])
    """

    samples: SampleList
    sources: tuple[QuerySource, ...]
    phases: tuple[WeightPhase, ...]
    steps: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size")
        require_at_least(self, 0, "steps")
        if len(self.sources) > _MAX_SOURCES:
            raise ValueError(
                f"{len(self.sources)} sources are too many: at most {_MAX_SOURCES} can be mixed"
            )
        if not self.phases or self.phases[0].step != 0:
            raise ValueError("the first WeightPhase of a mixture must start at step 0")
        steps = [phase.step for phase in self.phases]
        if steps != sorted(set(steps)):
            raise ValueError(f"the phases of a mixture start at steps {steps}; they must increase")
        for phase in self.phases:
            self._check_weights(phase)

    def _check_weights(self, phase: WeightPhase) -> None:
        if len(phase.weights) != len(self.sources):
            raise ValueError(
                f"the phase from step {phase.step} has {len(phase.weights)} weights for "
                f"{len(self.sources)} sources; give one for each"
            )
        valid = all(isinstance(w, Real) and 0 <= w < math.inf for w in phase.weights)
        if not valid or sum(phase.weights) <= 0:
            raise ValueError(
                f"the phase from step {phase.step} has the weights {phase.weights}; they must be "
                "finite numbers of at least 0, and at least one positive"
            )

    def __len__(self) -> int:
        return self.steps

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that the mixture depends on: samples, sources, settings, seed."""
        digest = hashlib.sha256(self.samples.fingerprint.encode())
        phases = [asdict(phase) for phase in self.phases]
        settings = [phases, self.steps, self.batch_size, self.seed]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        for source in self.sources:
            digest.update(f"\n{source.name} {len(source)}\n".encode() + source.indices.tobytes())
        return digest.hexdigest()

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step.

        Raises:
            IndexError: If the step is not in [0, steps).
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not in [0, {self.steps}), the steps of the mixture")
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        origin = self._origins[places]
        indices = np.empty(len(places), np.int64)
        for number, source in enumerate(self.sources):
            own = origin == number
            if own.any():
                indices[own] = self._draw(number, source, self._turns[places[own]])
        return Rows(
            step,
            0,
            indices,
            places,
            origin,
            np.zeros(len(places), np.bool_),
            np.zeros(len(places), np.int64),
            np.full(len(places), -1),
        )

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return the samples of the row's own source."""
        return self.sources[int(rows.origin[row])].indices

    def _draw(self, number: int, source: QuerySource, turns: Indices) -> Indices:
        """Return the samples of a source's draws number `turns`."""
        drawn = np.empty(len(turns), np.int64)
        for lap in np.unique(turns // len(source)):
            own = turns // len(source) == lap
            # Laps of different sources have different orders: lap and number make one epoch.
            order = permutation(len(source), self.seed, int(lap) * len(self.sources) + number)
            drawn[own] = source.indices[order[turns[own] % len(source)]]
        return drawn

    @cached_property
    def _origins(self) -> NDArray[np.int16]:
        """The source of every row of the run."""
        draws = uniform(words(self.steps * self.batch_size, self.seed, Purpose.SOURCE))
        origins = np.empty(len(draws), np.int16)
        ends = [phase.step for phase in self.phases[1:]] + [max(self.steps, 1 << 62)]
        for phase, end in zip(self.phases, ends, strict=True):
            part = slice(phase.step * self.batch_size, end * self.batch_size)
            edges = np.cumsum(phase.weights) / sum(phase.weights)
            picked = np.searchsorted(edges, draws[part], side="right")
            origins[part] = np.minimum(picked, _last_positive(phase.weights))
        return origins

    @cached_property
    def _turns(self) -> Indices:
        """For every row, how many rows before it come from the same source."""
        turns = np.empty(len(self._origins), np.int64)
        for number in range(len(self.sources)):
            own = np.flatnonzero(self._origins == number)
            turns[own] = np.arange(len(own))
        return turns

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def _last_positive(weights: Sequence[float]) -> int:
    """Return the last source that may be drawn: rounding must not pick one of weight 0."""
    return max(number for number, weight in enumerate(weights) if weight > 0)
