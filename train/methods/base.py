"""What a method is: given a batch, which loss. Everything else has a default.

A method of one's own is one file with one class, given as `--method module:Class`:

    class Mine(Method):
        def losses(self, batch):
            return {"cav": self.cav(batch).loss.mean()}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avstore.train.methods.memory import Reservoir, Rows
from avstore.train.systems.cavmae.model import CAVMAE, Masked
from avstore.train.systems.cavmae.patches import Patches, all_patches, concat


@dataclass(frozen=True)
class Inputs:
    """A batch as a method sees it: video [B, T, 3, S, S], audio [B, 1, frames, mels]."""

    video: Tensor
    audio: Tensor

    def __len__(self) -> int:
        return len(self.video)


@dataclass(frozen=True)
class Setup:
    """What a method may know of the run. first_task_clips: how many clips the first task has."""

    world_size: int = 1
    first_task_clips: int = 0


class Options(BaseModel):
    """A method's own settings; subclass it. Unknown names and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MemoryOptions(Options):
    """Settings of every method that replays.

    memory_size: items of all processes together. memory_share: instead, a share of the first
    task's clips; the released code overwrites the size with 0.2 of the data set (bug B23).
    """

    memory_size: int = Field(default=2000, ge=1)
    memory_share: float | None = Field(default=None, gt=0, le=1)

    def capacity(self, setup: Setup) -> int:
        """Items that each process keeps."""
        size = self.memory_size
        if self.memory_share is not None:
            size = int(self.memory_share * setup.first_task_clips)
        return max(1, size // setup.world_size)


class Method(nn.Module):
    """The interface: `losses`; and, where needed, `stepped`, `evaluated`, `extra_state`.

    `forward` is what the trainer calls (through DDP, where there is one). Random numbers come
    from torch's global generator, which the trainer seeds anew before every step.
    """

    Options: ClassVar[type[Options]] = Options
    union_of_tasks: ClassVar[bool] = False  # True: all tasks' clips as a single task

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__()
        self.model = model
        self.options = options
        self.setup = setup
        self.optimizer: torch.optim.Optimizer | None = None  # the trainer's, once there is one

    def losses(self, batch: Inputs) -> dict[str, Tensor]:
        """Named scalars; their sum is trained."""
        raise NotImplementedError

    def forward(self, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
        return self.losses(Inputs(video, audio))

    def stepped(self) -> None:
        """Called after each optimiser step."""

    def evaluated(self) -> CAVMAE:
        """The model that is evaluated."""
        return self.model

    def memories(self) -> Mapping[str, Reservoir]:
        """Memories by name, for checkpoints."""
        return {}

    def cav(self, batch: Inputs | Patches) -> Masked:
        """Masked forward of the backbone on pixels or on chosen patches."""
        if isinstance(batch, Inputs):
            batch = self.patches(batch)
        out: Masked = self.model(batch)
        return out

    def patches(self, batch: Inputs) -> Patches:
        """All patches of a batch."""
        return all_patches(batch.video, batch.audio, self.model.config)


class ReplayMethod(Method):
    """A method with one reservoir of pixels, and what else it keeps beside them."""

    Options: ClassVar[type[Options]] = MemoryOptions

    def __init__(self, model: CAVMAE, options: Any, setup: Setup) -> None:
        super().__init__(model, options, setup)
        self.memory = Reservoir(options.capacity(setup))

    def memories(self) -> Mapping[str, Reservoir]:
        return {"memory": self.memory}

    def draw(self, count: int) -> tuple[Tensor, Rows]:
        """Rows of the memory on the model's device; an empty dict where there are none."""
        if not len(self.memory):
            return torch.empty(0, dtype=torch.long), {}
        return self.memory.sample(count, next(self.model.parameters()).device)

    def remember(self, batch: Inputs, **more: Tensor) -> None:
        """Offer the batch's rows to the memory."""
        self.memory.add({"video": batch.video, "audio": batch.audio, **more})

    def cav_with(self, batch: Inputs, past: Rows) -> Masked:
        """One masked forward over current rows and, below them, replayed ones."""
        if not past:
            return self.cav(batch)
        replayed = self.patches(Inputs(past["video"], past["audio"]))
        return self.cav(concat(self.patches(batch), replayed))


def penalty(weight: float, rows: int, out: Masked, audio: Tensor, video: Tensor) -> Tensor:
    """weight times the mean squared drift of the replayed rows' embeddings, both modalities."""
    drift_a = (out.audio[rows:] - audio).square().mean()
    return weight * (drift_a + (out.video[rows:] - video).square().mean())
