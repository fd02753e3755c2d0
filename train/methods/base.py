"""The interface of a continual-learning method: given a batch, the losses to train.

A method is one file with one class, given as `--method module:Class`:

    class Mine(Method):
        def losses(self, batch, past):
            return {"objective": self.objective(batch).loss.mean()}
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avstore.manifests.fingerprint import AddedWith
from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.methods.kept import Kept
from avstore.train.objective import Objective

RESERVOIRS = 4


@dataclass(frozen=True)
class Setup:
    """What a method may know of the run.

    Attributes:
        batch_size: Rows of the task in a global batch.
        rank: This process.
        world_size: Number of processes.
        first_task_clips: Clips of the first task.
    """

    batch_size: int = 4
    rank: int = 0
    world_size: int = 1
    first_task_clips: int = 0


@dataclass(frozen=True)
class Memory:
    """The memory of a run, of all processes.

    Attributes:
        rows: Rows that it holds.
        reservoirs: Reservoirs that share them equally.
    """

    rows: int
    reservoirs: int


class Options(BaseModel):
    """A method's own settings; subclass it. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MemoryOptions(Options):
    """Settings of every method that replays.

    Attributes:
        memory_size: Rows that all reservoirs hold together.
        memory_share: Size as a share of the first task's clips instead; the released code
            overwrites the size with 0.2 of the dataset in runs that know the task (bug B23).
        reservoirs: Reservoirs that share the rows, as those of the released runs' 4 GPUs; a divisor
            of the batch size, and a multiple of the number of processes, now and after a restart.
            None is 4, or the largest of its divisors that fits the batch size.
    """

    memory_size: int = Field(default=2000, ge=1)
    memory_share: float | None = Field(default=None, gt=0, le=1)
    reservoirs: Annotated[int | None, AddedWith(None), Field(ge=1)] = None

    def memory(self, setup: Setup) -> Memory:
        """Return the size of the memory, whose rows the reservoirs share equally.

        Raises:
            UserError: Processes or batches cannot be shared out to the reservoirs equally.
        """
        count = self.reservoirs or math.gcd(RESERVOIRS, setup.batch_size)
        for name, wrong in (
            (f"{setup.world_size} processes", count % setup.world_size),
            (f"a batch of {setup.batch_size} rows", setup.batch_size % count),
        ):
            if wrong:
                raise UserError(
                    f"{count} reservoirs do not fit {name}; set options.reservoirs to a multiple "
                    "of the number of processes that divides batch_size"
                )
        size = self.memory_size
        if self.memory_share is not None:
            size = int(self.memory_share * setup.first_task_clips)
        return Memory(max(1, size // count) * count, count)


class Method(nn.Module):
    """A system and how it learns. Subclasses write `losses`; the rest has defaults.

    Random numbers must come from torch's global generator, which the trainer seeds before every
    step, so that a resumed run is exact.

    Attributes:
        Options: Class of the method's settings.
        union_of_tasks: Whether all tasks' clips are trained on as one task.
        objective: The system.
        options: The settings.
        setup: Facts of the run.
        optimizer: The trainer's optimiser, set before the first step.
    """

    Options: ClassVar[type[Options]] = Options
    union_of_tasks: ClassVar[bool] = False

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__()
        self.objective = objective
        self.options = options
        self.setup = setup
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def replay(self) -> int:
        """Replayed rows of a step for each of its current rows."""
        return 0

    def losses(self, batch: Batch, past: Batch | None) -> dict[str, Tensor]:
        """Return scalar losses by name; their sum is trained.

        Args:
            batch: The task's rows.
            past: Replayed rows, as they were first seen; None while the memory is empty.
        """
        raise NotImplementedError

    def forward(self, batch: Batch, past: Batch | None = None) -> dict[str, Tensor]:
        """Return `losses`; the trainer calls this, through DistributedDataParallel if present."""
        return self.losses(batch, past)

    def task_started(self, task: int) -> None:
        """Do nothing; called before the first step of a task."""

    def task_ended(self, task: int, batches: Callable[[], Iterable[Batch]]) -> None:
        """Do nothing; called after the last step of a task.

        Args:
            task: Its number, from 0.
            batches: Returns the batches of its training clips, without augmentation.
        """

    def after_step(self) -> None:
        """Do nothing; called after each optimiser step."""

    def evaluated(self) -> Objective:
        """Return the system to evaluate."""
        return self.objective

    def kept(self) -> Mapping[str, Any]:
        """Return what is kept of rows, by name; each has `state_dict` and `load_parts`."""
        return {}


class ReplayMethod(Method):
    """A method that replays rows of the plan's memory, with tensors kept beside them.

    Attributes:
        memory: Size of the plan's memory.
        beside: The tensors, by slot.
    """

    Options: ClassVar[type[Options]] = MemoryOptions

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        self.memory: Memory = options.memory(setup)
        rows, reservoirs = self.memory.rows, self.memory.reservoirs
        self.beside = Kept(rows, reservoirs, setup.rank, setup.world_size)

    @property
    def replay(self) -> int:
        """One replayed row for each current one."""
        return 1

    def kept(self) -> Mapping[str, Any]:
        """Return the tensors beside the memory."""
        return {"beside": self.beside}


def drift(weight: float, now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> Tensor:
    """Return the weighted mean squared difference of embeddings [N, D], summed over names."""
    return weight * sum(
        ((now[name] - before[name]).square().mean() for name in now), torch.zeros(())
    )


def draw_coin(probability: float) -> bool:
    """Return True with a probability; every process gets the same answer."""
    return dist.of_first(float(torch.rand(()))) < probability


def frozen_copy(objective: Objective) -> Objective:
    """Return a copy that is not trained."""
    return copy.deepcopy(objective).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, alpha: float, step: int) -> None:
    """Move an exponential moving average of a model's parameters.

    average ← a · average + (1 − a) · model with a = min(1 − 1 / (step + 1), alpha), which is the
    plain mean in the first steps.
    """
    a = min(1 - 1 / (step + 1), alpha)
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.mul_(a).add_(new, alpha=1 - a)
