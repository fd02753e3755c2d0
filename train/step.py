"""One optimiser step: seed, forward, backward, update."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from avstore.train import dist
from avstore.train.config import Config
from avstore.train.data import Batch
from avstore.train.methods import Method

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def seed_everything(seed: int, step: int, rank: int | None = None) -> None:
    """Seed torch by (seed, step, rank), so that a step's random numbers need no saved state."""
    own = dist.rank() if rank is None else rank
    sequence = np.random.SeedSequence([seed, step, own])
    torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


@dataclass
class Stepper:
    """What a step needs.

    Attributes:
        method: Model and continual-learning method.
        wrapped: The method, or DistributedDataParallel around it.
        optimizer: Over the method's parameters.
        config: The run's configuration.
        device: Where batches are moved.
    """

    method: Method
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    config: Config
    device: torch.device

    def __post_init__(self) -> None:
        self.scaler = GradScaler(self.device.type, enabled=self.config.precision == "fp16")
        self.method.optimizer = self.optimizer

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """Train on one batch, in parts of `micro_batch` rows.

        Args:
            batch: This process's rows.
            number: Number of the step in the run, from 0, which seeds it.

        Returns:
            Losses by name, mean over rows and processes.
        """
        seed_everything(self.config.seed, number)
        self.method.train()
        batch = batch.to(self.device)
        size = self.config.micro_batch or len(batch)
        starts = range(0, len(batch), size)
        self.optimizer.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        for start in starts:
            part = slice(start, min(start + size, len(batch)))
            share = (part.stop - part.start) / len(batch)
            losses = self._backward(batch, part, share, last=start == starts[-1])
            for name, value in losses.items():
                total[name] = total.get(name, torch.zeros((), device=self.device)) + share * value
        if (limit := self.config.optim.clip_grad) is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.method.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.method.after_step()
        return {name: float(dist.mean(value)) for name, value in total.items()}

    def _backward(
        self, batch: Batch, part: slice, share: float, *, last: bool
    ) -> dict[str, Tensor]:
        dtype = DTYPES[self.config.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            if isinstance(self.wrapped, nn.parallel.DistributedDataParallel) and not last:
                with self.wrapped.no_sync():  # gradients are exchanged once, after the last part
                    losses = self.wrapped(batch.video[part], batch.audio[part])
                    self.scaler.scale(share * sum(losses.values())).backward()
                return _detached(losses)
            losses = self.wrapped(batch.video[part], batch.audio[part])
        self.scaler.scale(share * sum(losses.values())).backward()
        return _detached(losses)

    def shared_state(self) -> dict[str, Any]:
        """Return the state that is equal on every process."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def own_state(self) -> dict[str, Any]:
        """Return this process's state: its memories."""
        return {name: m.state_dict() for name, m in self.method.memories().items()}

    def load(self, shared: dict[str, Any], own: dict[str, Any]) -> None:
        """Load what `shared_state` and `own_state` returned."""
        self.method.load_state_dict(shared["method"])
        self.optimizer.load_state_dict(shared["optimizer"])
        self.scaler.load_state_dict(shared["scaler"])
        for name, memory in self.method.memories().items():
            memory.load_state_dict(own[name])


def _detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.items()}
