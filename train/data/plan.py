"""A task stream as one explicit, hashed plan: which samples every step of the whole run holds."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.train.data.order import Indices, Rows
from avstore.train.data.reservoir import Reservoir
from avstore.train.data.rng import permutation
from avstore.train.data.samples import SampleList
from avstore.train.data.sources import Source
from avstore.train.data.spec import at_least

# Places of replayed rows are apart from those of the task's own.
_REPLAY_PLACES = 1 << 40


@dataclass(frozen=True)
class PlanSpec:
    """batch_size: rows of the current task in a global batch. epochs: passes over each task.

    replay: rows that are added to each batch from the memory (none before anything was offered).
    memory: clips that it holds. A task's last partial batch is short, or left out (drop_last).
    """

    batch_size: int
    epochs: int = 1
    replay: int = 0
    memory: int = 0
    drop_last: bool = False

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size", "epochs")
        at_least(self, 0, "replay", "memory")
        if (self.replay > 0) != (self.memory > 0):
            raise ValueError("replay needs rows a batch (replay) and room (memory), or neither")


@dataclass(frozen=True)
class Moment:
    """Where in the run a step is. epoch, step: of the task."""

    task: int
    epoch: int
    step: int


@dataclass(frozen=True)
class ContinualPlan:
    """An order of all steps of all tasks, one after another.

    Rows.origin: 0 the current task, 1 replayed. A task's clips are offered to the memory once,
    in the order of its first epoch; a step draws from what was offered before it.
    """

    samples: SampleList
    tasks: tuple[Source, ...]
    spec: PlanSpec
    seed: int

    def __len__(self) -> int:
        return int(self.boundaries[-1])

    @cached_property
    def boundaries(self) -> NDArray[np.int64]:
        """The first step of each task, and one past the last step."""
        return np.cumsum([0, *(self.spec.epochs * self._steps(task) for task in self.tasks)])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over samples, tasks, settings and seed: all that the plan depends on."""
        digest = hashlib.sha256(self.samples.fingerprint.encode())
        digest.update(json.dumps([asdict(self.spec), self.seed], sort_keys=True).encode())
        for task in self.tasks:
            digest.update(f"\n{task.name} {len(task)}\n".encode() + task.indices.tobytes())
        return digest.hexdigest()

    def moment(self, step: int) -> Moment:
        """The task, epoch and step within it. Raises IndexError beyond the plan."""
        if not 0 <= step < len(self):
            raise IndexError(f"step {step} is not one of the plan's {len(self)}")
        task = int(np.searchsorted(self.boundaries, step, side="right")) - 1
        epoch, own = divmod(step - int(self.boundaries[task]), self._steps(self.tasks[task]))
        return Moment(task, epoch, own)

    def rows(self, step: int) -> Rows:
        """The global batch of a step: the task's rows, then replayed ones."""
        at = self.moment(step)
        task = self.tasks[at.task]
        order = self._order(at.task, at.epoch)
        places = np.arange(at.step * self.spec.batch_size, (at.step + 1) * self.spec.batch_size)
        places = places[places < len(task)]
        replayed = self._replayed(step, at)
        own = len(places)
        apart = _REPLAY_PLACES + at.step * max(self.spec.replay, 1) + np.arange(len(replayed))
        return Rows(
            step,
            at.task * self.spec.epochs + at.epoch,
            np.concatenate([task.indices[order[places]], replayed]),
            np.concatenate([places, apart]),
            np.repeat(np.array([0, 1], np.int16), [own, len(replayed)]),
            np.zeros(own + len(replayed), np.bool_),
        )

    def memory(self, step: int) -> Indices:
        """Samples that the memory holds when the step begins, by slot."""
        return self._offered[self._reservoir.held(self._count(step, self.moment(step)))]

    def pool(self, rows: Rows, at: int) -> Indices:
        """Samples that may stand in for a row, or be mixed with it: of the current task, or of
        those offered so far; of no task that is yet to come."""
        moment = self.moment(rows.step)
        if rows.origin[at] == 1:
            return self._offered[: self._count(rows.step, moment)]
        return self.tasks[moment.task].indices

    def _steps(self, task: Source) -> int:
        whole, rest = divmod(len(task), self.spec.batch_size)
        return whole if self.spec.drop_last or not rest else whole + 1

    def _order(self, task: int, epoch: int) -> Indices:
        key = task * self.spec.epochs + epoch
        held: dict[int, Indices] = self.__dict__.setdefault("_orders", {})
        if key not in held:
            held.clear()
            held[key] = permutation(len(self.tasks[task]), self.seed, key)
        return held[key]

    def _count(self, step: int, at: Moment) -> int:
        """Clips offered before a step."""
        before = sum(len(task) for task in self.tasks[: at.task])
        return before + min(
            (at.step if at.epoch == 0 else 1 << 40) * self.spec.batch_size,
            len(self.tasks[at.task]),
        )

    def _replayed(self, step: int, at: Moment) -> Indices:
        if not self.spec.replay:
            return np.zeros(0, np.int64)
        count = self._count(step, at)
        return self._offered[self._reservoir.drawn(count, self.spec.replay, step)]

    @cached_property
    def _offered(self) -> Indices:
        """Every clip in the order in which it is offered."""
        orders = [
            task.indices[permutation(len(task), self.seed, number * self.spec.epochs)]
            for number, task in enumerate(self.tasks)
        ]
        return np.concatenate(orders)

    @cached_property
    def _reservoir(self) -> Reservoir:
        return Reservoir(self.spec.memory, len(self._offered), self.seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
