"""The interface of a continual-learning method: given a batch, the losses to train.

A method is one file with one class, given as `--method module:Class`:

    class Mine(Method):
        def losses(self, batch):
            return {"cav": self.forward_masked(batch).loss.mean()}
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avstore.manifests.fingerprint import AddedWith
from avstore.train import dist
from avstore.train.errors import UserError
from avstore.train.methods.memory import RehearsalMemory, Rows
from avstore.train.systems.cavmae.model import CAVMAE, Masked
from avstore.train.systems.cavmae.patches import Order, Patches, all_patches, concat


@dataclass(frozen=True)
class Inputs:
    """A batch as a method sees it.

    Attributes:
        video: Normalised frames [B, T, 3, S, S].
        audio: Normalised fbanks [B, 1, frames, mels].
    """

    video: Tensor
    audio: Tensor

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True)
class Setup:
    """What a method may know of the run.

    Attributes:
        world_size: Number of processes.
        first_task_clips: Clips of the first task.
    """

    world_size: int = 1
    first_task_clips: int = 0


class Options(BaseModel):
    """A method's own settings; subclass it. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MemoryOptions(Options):
    """Settings of every method that replays.

    Attributes:
        memory_size: Items of all processes together.
        memory_share: Size as a share of the first task's clips instead; the released code
            overwrites the size with 0.2 of the dataset in runs that know the task (bug B23).
        reservoirs: Reservoirs of all processes together, which share the items; None is one a
            process. The released runs have one on each of 4 GPUs.
    """

    memory_size: int = Field(default=2000, ge=1)
    memory_share: float | None = Field(default=None, gt=0, le=1)
    reservoirs: Annotated[int | None, AddedWith(None), Field(ge=1)] = None

    def make_memory(self, setup: Setup) -> RehearsalMemory:
        """Return the empty memory of this process.

        Raises:
            UserError: The processes cannot share the reservoirs equally.
        """
        reservoirs = self.reservoirs or setup.world_size
        if reservoirs % setup.world_size:
            raise UserError(
                f"{reservoirs} reservoirs cannot be shared by {setup.world_size} processes; set "
                f"options.reservoirs to a multiple of {setup.world_size}"
            )
        size = self.memory_size
        if self.memory_share is not None:
            size = int(self.memory_share * setup.first_task_clips)
        own = reservoirs // setup.world_size
        return RehearsalMemory(max(own, size // setup.world_size), own)


class Method(nn.Module):
    """A model and how it learns. Subclasses write `losses`; the rest has defaults.

    Random numbers must come from torch's global generator, which the trainer seeds before every
    step, so that a resumed run is exact.

    Attributes:
        Options: Class of the method's settings.
        union_of_tasks: Whether all tasks' clips are trained on as one task.
        model: The backbone.
        options: The settings.
        setup: Facts of the run.
        optimizer: The trainer's optimiser, set before the first step.
    """

    Options: ClassVar[type[Options]] = Options
    union_of_tasks: ClassVar[bool] = False

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.setup = setup
        self.optimizer: torch.optim.Optimizer | None = None

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Return scalar losses by name; their sum is trained."""
        raise NotImplementedError

    def forward(self, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Return `losses`; the trainer calls this, through DistributedDataParallel if present."""
        return self.losses(Inputs(video, audio))

    def after_step(self) -> None:
        """Do nothing; called after each optimiser step."""

    def eval_model(self) -> CAVMAE:
        """Return the model to evaluate."""
        return self.model

    def memories(self) -> Mapping[str, RehearsalMemory]:
        """Return the memories by name, for checkpoints."""
        return {}

    def forward_masked(self, batch: Inputs | Patches, order: Order | None = None) -> Masked:
        """Return the backbone's masked forward pass on pixels or on selected patches."""
        if isinstance(batch, Inputs):
            batch = self.patches(batch)
        out: Masked = self.model(batch, order)
        return out

    def patches(self, batch: Inputs) -> Patches:
        """Return all patches of a batch."""
        return all_patches(batch.video, batch.audio, self.model.config)


class ReplayMethod(Method):
    """A method with one reservoir of pixels and of tensors kept beside them.

    Attributes:
        memory: The reservoir.
    """

    Options: ClassVar[type[Options]] = MemoryOptions

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        self.memory: RehearsalMemory = options.make_memory(setup)

    def memories(self) -> Mapping[str, RehearsalMemory]:
        """Return the reservoir as `memory`."""
        return {"memory": self.memory}

    def draw(self, count: int) -> tuple[Tensor, Rows]:
        """Draw rows of the memory.

        Args:
            count: Rows to draw, without replacement; fewer if the memory holds fewer.

        Returns:
            Slots [N] and rows by name, each [N, ...], on the model's device; no rows ({}) if the
            memory is empty.
        """
        if not len(self.memory):
            return torch.empty(0, dtype=torch.long), {}
        return self.memory.sample(count, next(self.model.parameters()).device)

    def remember(self, batch: Inputs, **more: Tensor) -> None:
        """Offer the batch's rows to the memory, with further tensors [B, ...] by name."""
        self.memory.add({"video": batch.video, "audio": batch.audio, **more})

    def with_past(self, batch: Inputs, past: Rows) -> Patches:
        """Return the patches of current rows followed by those of replayed ones."""
        own = self.patches(batch)
        if not past:
            return own
        return concat(own, self.patches(Inputs(past["video"], past["audio"])))

    def forward_with_past(self, batch: Inputs, past: Rows) -> Masked:
        """Return one masked forward pass on current rows followed by replayed ones."""
        return self.forward_masked(self.with_past(batch, past))


def penalty(weight: float, rows: int, out: Masked, audio: Tensor, video: Tensor) -> Tensor:
    """Return the weighted mean squared drift of the replayed rows' embeddings.

    Args:
        weight: Factor of the result.
        rows: Number of current rows B, which come first in `out`.
        out: Masked forward pass of B current and N replayed rows.
        audio: Earlier audio embeddings of the replayed rows [N, D].
        video: Earlier video embeddings of the replayed rows [N, D].
    """
    drift_a = (out.audio[rows:] - audio).square().mean()
    return weight * (drift_a + (out.video[rows:] - video).square().mean())


def draw_coin(probability: float) -> bool:
    """Return True with a probability; every process gets the same answer."""
    return dist.of_first(float(torch.rand(()))) < probability


def frozen_copy(model: CAVMAE) -> CAVMAE:
    """Return a copy that is not trained."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def update_average(average: CAVMAE, model: CAVMAE, alpha: float, step: int) -> None:
    """Move an exponential moving average of a model's parameters.

    average ← a · average + (1 − a) · model with a = min(1 − 1 / (step + 1), alpha), which is the
    plain mean in the first steps.
    """
    a = min(1 - 1 / (step + 1), alpha)
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.mul_(a).add_(new, alpha=1 - a)
