"""Compile a task stream to a plan: which samples every step of the whole run holds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.manifests.streams import sql_literal
from avstore.train.data.mixture import QuerySource, sources
from avstore.train.data.order import Indices, Rows
from avstore.train.data.rng import Purpose, generator, permutation, uniform, words
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import require_at_least

# Places of replayed rows start beyond those of the task's own rows.
_REPLAY_PLACES = 1 << 40


@dataclass(frozen=True)
class PlanSpec:
    """Settings of a plan.

    Attributes:
        batch_size: Rows of the current task in a global batch.
        epochs: Passes over each task.
        replay: Rows added to each batch from the memory (none before anything was offered).
        memory: Clips that the memory holds.
        drop_last: Leave out a task's last partial batch; otherwise it is short.

    Example:
        >>> PlanSpec(batch_size=8, epochs=10, replay=4, memory=20).drop_last
        False
    """

    batch_size: int
    epochs: int = 1
    replay: int = 0
    memory: int = 0
    drop_last: bool = False

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "epochs")
        require_at_least(self, 0, "replay", "memory")
        if (self.replay > 0) != (self.memory > 0):
            raise ValueError(
                f"replay={self.replay} and memory={self.memory}: replay needs rows in a batch "
                "(replay) and clips to hold (memory); set both, or neither"
            )


@dataclass(frozen=True)
class ReplayMemory:
    """The contents of a rehearsal memory as a function of the seed, so that none are saved.

    Reservoir sampling (Vitter 1985): item n (from 0) takes slot n while there is room, afterwards
    slot r, drawn evenly from [0, n], if r is below the capacity. At any time every item offered so
    far is held with the same probability.

    Attributes:
        capacity: Number of items held.
        offered: Number of items that the run offers.
        seed: Seed in [0, 2^64).
    """

    capacity: int
    offered: int
    seed: int

    def held(self, count: int) -> NDArray[np.int64]:
        """Return the numbers of the items held after `count` were offered, by slot."""
        count = min(count, self.offered)
        slots = self._slots[:count]
        taken = np.flatnonzero(slots < self.capacity)
        held = np.empty(min(count, self.capacity), np.int64)
        held[slots[taken]] = taken  # the last item of a slot stays
        return held

    def draw(self, count: int, rows: int, step: int) -> NDArray[np.int64]:
        """Draw at most `rows` of the items held, without replacement, for a step."""
        held = self.held(count)
        choices = generator(self.seed, Purpose.REPLAY, 0, step)
        return held[choices.permutation(len(held))[:rows]]

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """The slot of every item; an item whose slot is beyond the capacity is not held."""
        numbers = np.arange(self.offered)
        drawn = uniform(words(self.offered, self.seed, Purpose.RESERVOIR)) * (numbers + 1)
        return np.where(numbers < self.capacity, numbers, drawn.astype(np.int64))

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class PlanPosition:
    """The position of a step of a plan.

    Attributes:
        task: Number of the task.
        epoch: Epoch of the task.
        step: Step of the epoch.
    """

    task: int
    epoch: int
    step: int


@dataclass(frozen=True)
class ContinualPlan:
    """An order of all steps of all tasks, one after another (see `compile_plan`).

    `Rows.origin` is 0 for the current task and 1 for replayed rows. A task's clips are offered to
    the memory once, in the order of its first epoch; a step draws from what was offered before it.

    Attributes:
        samples: The list of all tasks' clips.
        tasks: Each task's part of it.
        spec: Settings.
        seed: Seed in [0, 2^64).

    Example:
        >>> tasks = {
        ...     "first": "SELECT clip_id FROM clips WHERE split = 'train'",
        ...     "second": "SELECT clip_id FROM clips WHERE split = 'test'",
        ... }
        >>> spec = PlanSpec(batch_size=4, replay=2, memory=6)
        >>> plan = compile_plan(open_store("data"), tasks, spec, seed=0)
        >>> isinstance(plan, ContinualPlan), plan.boundaries.tolist()
        (True, [0, 5, 7])
        >>> plan.position(5), plan.rows(5).origin.tolist(), len(plan.memory(5))
        (PlanPosition(task=1, epoch=0, step=0), [0, 0, 0, 0, 1, 1], 6)
    """

    samples: SampleList
    tasks: tuple[QuerySource, ...]
    spec: PlanSpec
    seed: int

    def __len__(self) -> int:
        return int(self.boundaries[-1])

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """The first step of each task, and the number of all steps."""
        return np.cumsum([0, *(self.spec.epochs * self._steps(task) for task in self.tasks)])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that the plan depends on: samples, tasks, settings, seed."""
        digest = hashlib.sha256(self.samples.fingerprint.encode())
        digest.update(json.dumps([asdict(self.spec), self.seed], sort_keys=True).encode())
        for task in self.tasks:
            digest.update(f"\n{task.name} {len(task)}\n".encode() + task.indices.tobytes())
        return digest.hexdigest()

    def position(self, step: int) -> PlanPosition:
        """Return the task of a step, and the epoch and step within it.

        Raises:
            IndexError: If the step is not in [0, len(self)).
        """
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is not in [0, {len(self)}), the steps of the plan")
        task = int(np.searchsorted(self.boundaries, step, side="right")) - 1
        epoch, own = divmod(step - int(self.boundaries[task]), self._steps(self.tasks[task]))
        return PlanPosition(task, epoch, own)

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step: the task's rows, then replayed ones.

        Raises:
            IndexError: If the step is not in [0, len(self)).
        """
        at = self.position(step)
        task = self.tasks[at.task]
        order = self._order(at.task, at.epoch)
        places = np.arange(at.step * self.spec.batch_size, (at.step + 1) * self.spec.batch_size)
        places = places[places < len(task)]
        replayed = self._replayed(step, at)
        own = len(places)
        first = _REPLAY_PLACES + at.step * max(self.spec.replay, 1)
        return Rows(
            step,
            at.task * self.spec.epochs + at.epoch,
            np.concatenate([task.indices[order[places]], replayed]),
            np.concatenate([places, first + np.arange(len(replayed))]),
            np.repeat(np.array([0, 1], np.int16), [own, len(replayed)]),
            np.zeros(own + len(replayed), np.bool_),
        )

    def memory(self, step: int) -> Indices:
        """Return the samples that the memory holds when the step begins, by slot."""
        return self._offered[self._memory.held(self._offered_before(step, self.position(step)))]

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return the samples of the row's task, or of a replayed row all that were offered.

        So no row is mixed with, or replaced by, a sample of a later task.
        """
        at = self.position(rows.step)
        if rows.origin[row] == 1:
            return self._offered[: self._offered_before(rows.step, at)]
        return self.tasks[at.task].indices

    def _steps(self, task: QuerySource) -> int:
        """Return the steps of one epoch of a task."""
        whole, rest = divmod(len(task), self.spec.batch_size)
        return whole if self.spec.drop_last or not rest else whole + 1

    def _order(self, task: int, epoch: int) -> Indices:
        """Return the permutation of a task's epoch; the last one is cached."""
        key = task * self.spec.epochs + epoch
        cache: dict[int, Indices] = self.__dict__.setdefault("_orders", {})
        if key not in cache:
            cache.clear()
            cache[key] = permutation(len(self.tasks[task]), self.seed, key)
        return cache[key]

    def _offered_before(self, step: int, at: PlanPosition) -> int:
        """Return how many clips were offered to the memory before a step."""
        earlier = sum(len(task) for task in self.tasks[: at.task])
        own = len(self.tasks[at.task])
        return earlier + (min(at.step * self.spec.batch_size, own) if at.epoch == 0 else own)

    def _replayed(self, step: int, at: PlanPosition) -> Indices:
        if not self.spec.replay:
            return np.zeros(0, np.int64)
        count = self._offered_before(step, at)
        return self._offered[self._memory.draw(count, self.spec.replay, step)]

    @cached_property
    def _offered(self) -> Indices:
        """Every clip in the order in which it is offered to the memory."""
        orders = [
            task.indices[permutation(len(task), self.seed, number * self.spec.epochs)]
            for number, task in enumerate(self.tasks)
        ]
        return np.concatenate(orders)

    @cached_property
    def _memory(self) -> ReplayMemory:
        return ReplayMemory(self.spec.memory, len(self._offered), self.seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def compile_plan(
    store: OpenStore,
    tasks: Mapping[str, str] | str,
    spec: PlanSpec,
    seed: int,
    role: str = "train",
    **options: Any,
) -> ContinualPlan:
    """Compile the plan of a task stream.

    Args:
        store: The store.
        tasks: Name of a stream in the manifest, or task name to SQL query, in order.
        spec: Settings.
        seed: Seed in [0, 2^64).
        role: Role of the stream's clips.
        options: Options of `sample_list`; ranges=False makes a plan to inspect, not to load from.

    Raises:
        StoreError: If no clip of a task is stored, or too few for one batch with drop_last.

    Example:
        >>> tasks = {
        ...     "first": "SELECT clip_id FROM clips WHERE split = 'train'",
        ...     "second": "SELECT clip_id FROM clips WHERE split = 'test'",
        ... }
        >>> plan = compile_plan(open_store("data"), tasks, PlanSpec(batch_size=4), seed=0)
        >>> len(plan), [task.name for task in plan.tasks]
        (7, ['first', 'second'])
    """
    queries = _stream_queries(store, tasks, role) if isinstance(tasks, str) else tasks
    samples, found = sources(store, queries, **options)
    short = [task.name for task in found if spec.drop_last and len(task) < spec.batch_size]
    if short:
        raise StoreError(
            f"{', '.join(short)}: fewer clips than a batch of {spec.batch_size}, which drop_last "
            "leaves out; make batch_size smaller"
        )
    return ContinualPlan(samples, found, spec, seed)


def _stream_queries(store: OpenStore, stream: str, role: str) -> dict[str, str]:
    """Return the tasks of a stream in order: name to the query of its clips in that role."""
    rows = store.query(
        "SELECT DISTINCT position, task FROM tasks WHERE stream = ? AND role = ? ORDER BY position",
        [stream, role],
    ).rows()
    if not rows:
        found = store.query("SELECT DISTINCT stream FROM tasks ORDER BY 1").rows()
        known = [row["stream"] for row in found]
        raise StoreError(
            f"the store has no stream {stream!r} with the role {role!r}; it has "
            f"{', '.join(known) or 'none'} (add one by avstore tasks add)"
        )
    return {
        row["task"]: f"SELECT clip_id FROM task_clips WHERE stream = {sql_literal(stream)} "
        f"AND role = {sql_literal(role)} AND position = {int(row['position'])}"
        for row in rows
    }
