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
from avstore.train.data.arrangement import Arrangement, Chosen, arrange
from avstore.train.data.groups import Grouping, grouping
from avstore.train.data.mixture import QuerySource, sources
from avstore.train.data.offers import Offers
from avstore.train.data.order import Indices, Rows
from avstore.train.data.reservoir import Reservoir
from avstore.train.data.samples import SampleList
from avstore.train.data.setting_checks import require_at_least, require_choice


@dataclass(frozen=True)
class PlanSpec:
    """Settings of a plan.

    Attributes:
        batch_size: Rows of the current task in a global batch.
        epochs: Passes over each task.
        replay: Rows added to each batch from the memory (none before anything was offered).
        memory: Rows that the memory holds.
        reservoirs: Reservoirs of equal size that the memory consists of, one or more for each
            process that will train, now or after a restart. A step offers and replays equal parts
            of its rows by each; a partial batch is filled up (`Rows.padded`) to make that possible.
        drop_last: Leave out a task's last partial batch, unless it is the only one; otherwise it is
            short.
        shuffle: Order of a task's clips in an epoch: a "full" permutation; shards in random order,
            permuted within windows of `block` clips ("block"); as stored ("sequential"); as many
            draws with replacement by class-balancing weights ("balanced"); or random clips of all
            "groups" in turn, as `GroupOrder` draws them.
        block: Clips of a window of shuffle="block".
        by: Column of the list that names a clip's group, for shuffle="groups".
        passes: Length of an epoch of shuffle="groups": each group comes so many times the mean size
            of a group, rounded down.

    Example:
        >>> PlanSpec(batch_size=8, epochs=10, replay=4, memory=20).drop_last
        False
    """

    batch_size: int
    epochs: int = 1
    replay: int = 0
    memory: int = 0
    reservoirs: int = 1
    drop_last: bool = False
    shuffle: Arrangement = "full"
    block: int = 4096
    by: str = "source_id"
    passes: int = 1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "batch_size", "epochs", "reservoirs", "block", "passes")
        require_choice(self, shuffle=Arrangement)
        require_at_least(self, 0, "replay", "memory")
        if (self.replay > 0) != (self.memory > 0):
            raise ValueError(
                f"replay={self.replay} and memory={self.memory}: replay needs rows in a batch "
                "(replay) and rows to hold (memory); set both, or neither"
            )
        for name in ("batch_size", "replay", "memory"):
            if getattr(self, name) % self.reservoirs:
                raise ValueError(
                    f"{name}={getattr(self, name)} cannot be dealt out evenly to "
                    f"{self.reservoirs} reservoirs; choose a multiple"
                )


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

    `Rows.origin` is 0 for the current task and 1 for replayed rows. Every row of every step is
    offered to the memory; a step draws from what was offered before it. A replayed row has the key
    (epoch and place) of when it was offered, so that its random choices are those of that time.
    `Rows.slots` says where the memory keeps a row: slot s of reservoir r is
    r · (memory / reservoirs) + s. A step's draws come before its offers.

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
        return np.cumsum(
            [0, *(self.spec.epochs * self.steps_per_epoch(n) for n in range(len(self.tasks)))]
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over all that the plan depends on: samples, tasks, settings, seed."""
        digest = hashlib.sha256(self.samples.fingerprint.encode())
        settings = asdict(self.spec)
        if self.spec.shuffle != "groups":  # as before there were groups
            del settings["by"], settings["passes"]
        digest.update(json.dumps([settings, self.seed], sort_keys=True).encode())
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
        epoch, own = divmod(step - int(self.boundaries[task]), self.steps_per_epoch(task))
        return PlanPosition(task, epoch, own)

    def rows(self, step: int) -> Rows:
        """Return the global batch of a step: the task's rows, then replayed ones.

        Raises:
            IndexError: If the step is not in [0, len(self)).
        """
        at = self.position(step)
        epoch, places = at.task * self.spec.epochs + at.epoch, self._places(at)
        own = len(places)
        taken, (drawn, items) = self._taken(at, own), self._drawn(step, at, own)
        past_epochs, past_places = self._keys(drawn, items)
        epochs = np.append(np.full(own, epoch), past_epochs)
        places = np.append(places, past_places)
        return Rows(
            step,
            epoch,
            self._samples(epochs, places),
            places,
            np.repeat(np.array([0, 1], np.int16), [own, len(drawn)]),
            np.append(places[:own] >= self._lengths[at.task], np.zeros(len(drawn), np.bool_)),
            epochs,
            np.append(taken, drawn),
        )

    def memory(self, step: int) -> Indices:
        """Return the samples that the memory holds when the step begins, by reservoir and slot."""
        at = self.position(step)
        found = [np.zeros(0, np.int64)]
        for number, reservoir in enumerate(self._reservoirs):
            items = reservoir.held(self._offers.before(number, at.task, at.epoch, at.step))
            found.append(self._samples(*self._key(number, items)))
        return np.concatenate(found)

    def pool(self, rows: Rows, row: int) -> Indices:
        """Return the samples of the row's task; for a replayed row, of the task it was seen in.

        So no row is mixed with, or replaced by, a sample of a later task.
        """
        return self.tasks[int(rows.epochs[row]) // self.spec.epochs].indices

    def steps_per_epoch(self, task: int) -> int:
        """Return the steps of one epoch of a task."""
        return -(-self._rows(task) // self.spec.batch_size)

    def first_step(self, task: int, epoch: int) -> int:
        """Return the first step of an epoch of a task, or of what follows its last one."""
        if task == len(self.tasks):
            return len(self)
        return int(self.boundaries[task]) + epoch * self.steps_per_epoch(task)

    def _rows(self, task: int) -> int:
        """Return the rows of one epoch of a task."""
        size, length = self.spec.batch_size, self._lengths[task]
        if self.spec.drop_last and length >= size:
            return length - length % size
        return -(-length // self.spec.reservoirs) * self.spec.reservoirs

    def _samples(self, epochs: Indices, places: Indices) -> Indices:
        """Return the samples at some places of some epochs of the run."""
        found = np.empty(len(places), np.int64)
        tasks = epochs // self.spec.epochs
        for number in np.unique(tasks):
            own = tasks == number
            found[own] = self._arranged[number](places[own] % self._lengths[number], epochs[own])
        return found

    @cached_property
    def _arranged(self) -> list[Chosen]:
        """What finds each task's clips by place and epoch."""
        s = self.spec
        return [
            arrange(self.samples, task.indices, s.shuffle, s.block, self.seed, groups)
            for task, groups in zip(self.tasks, self._groupings, strict=True)
        ]

    @cached_property
    def _groupings(self) -> list[Grouping | None]:
        """The groups of each task, where its order has them."""
        s = self.spec
        if s.shuffle != "groups":
            return [None] * len(self.tasks)
        return [grouping(self.samples, task.indices, s.by, s.passes) for task in self.tasks]

    @cached_property
    def _lengths(self) -> list[int]:
        """The rows of one epoch of each task, before they are filled up or left out."""
        both = zip(self.tasks, self._groupings, strict=True)
        return [len(groups or task) for task, groups in both]

    def _key(self, reservoir: int, items: Indices) -> tuple[Indices, Indices]:
        """Return the epochs of the run and the places of a reservoir's items."""
        task, epoch, place = self._offers.places(reservoir, items)
        return task * self.spec.epochs + epoch, place

    def _keys(self, slots: Indices, items: Indices) -> tuple[Indices, Indices]:
        """Return the epochs of the run and the places of replayed items, by their slots."""
        epochs, places = np.empty_like(items), np.empty_like(items)
        for number in range(self.spec.reservoirs):
            own = slots // self._size == number
            epochs[own], places[own] = self._key(number, items[own])
        return epochs, places

    def _places(self, at: PlanPosition) -> Indices:
        """Return the places of a step, with repeated rows until every reservoir gets as many."""
        size, rows = self.spec.batch_size, self._rows(at.task)
        return np.arange(at.step * size, min((at.step + 1) * size, rows))

    def _taken(self, at: PlanPosition, rows: int) -> Indices:
        """Return the slot that each row of a step takes; -1 for rows that take none."""
        taken = np.full(rows, -1)
        for number, reservoir in enumerate(self._reservoirs):
            own = np.arange(number, rows, self.spec.reservoirs)
            start = self._offers.before(number, at.task, at.epoch, at.step)
            slots = reservoir.slots(start, start + len(own))
            taken[own] = np.where(slots < 0, -1, slots + number * self._size)
        return taken

    def _drawn(self, step: int, at: PlanPosition, rows: int) -> tuple[Indices, Indices]:
        """Return slot and item of each replayed row; row i of a step is reservoir i's, mod all."""
        count = self._replay_count(at)
        slots, items = np.empty(count, np.int64), np.empty(count, np.int64)
        for number, reservoir in enumerate(self._reservoirs):
            first = (number - rows) % self.spec.reservoirs
            own = slice(first, None, self.spec.reservoirs)
            offered = self._offers.before(number, at.task, at.epoch, at.step)
            drawn = reservoir.draw(offered, len(slots[own]), step)
            slots[own] = drawn + number * self._size
            items[own] = reservoir.items(drawn, offered)
        return slots, items

    def _replay_count(self, at: PlanPosition) -> int:
        """Return the replayed rows of a step: fewer while a reservoir holds fewer than its part."""
        if not self.spec.replay:
            return 0
        held = min(
            min(self._size, self._offers.before(number, at.task, at.epoch, at.step))
            for number in range(self.spec.reservoirs)
        )
        return min(self.spec.replay, held * self.spec.reservoirs)

    @property
    def _size(self) -> int:
        """Rows that a reservoir holds."""
        return max(1, self.spec.memory // self.spec.reservoirs)

    @cached_property
    def _offers(self) -> Offers:
        s = self.spec
        rows = [self._rows(number) for number in range(len(self.tasks))]
        return Offers(rows, s.batch_size, s.epochs, s.reservoirs)

    @cached_property
    def _reservoirs(self) -> list[Reservoir]:
        if not self.spec.memory:
            return []
        return [
            Reservoir(self._size, self._offers.total(number), self.seed, number)
            for number in range(self.spec.reservoirs)
        ]

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
