"""One optimiser step: seed, forward, backward, update."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from avstore.train import dist
from avstore.train.config import RunConfig
from avstore.train.data import Batch
from avstore.train.methods import Method

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def seed_everything(seed: int, step: int) -> None:
    """Seed torch by (seed, step), alike on every process, so that no state needs to be saved."""
    sequence = np.random.SeedSequence([seed, step, 0])
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
        diagnostics: What the objective found in the last step beside its losses, by name.
    """

    method: Method
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    config: RunConfig
    device: torch.device
    diagnostics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scaler = GradScaler(self.device.type, enabled=self.config.precision == "fp16")
        self.method.optimizer = self.optimizer

    def step(self, batch: Batch, number: int) -> dict[str, float]:
        """Train on one batch, in parts of `micro_batch` rows.

        Args:
            batch: This process's rows.
            number: Number of the step in the run, from 0, which seeds it.

        Returns:
            Losses by name, mean over rows and processes; `diagnostics` are means likewise.
        """
        seed_everything(self.config.seed, number)
        self.method.train()
        parts = list(self._parts(batch.to(self.device)))
        rows = sum(len(own) for own, _ in parts)
        self.optimizer.zero_grad(set_to_none=not self.config.optim.zero_gradients)
        total, beside = Sums(self.device), Sums(self.device)
        for place, (own, past) in enumerate(parts):
            share = len(own) / rows
            total.add(self._backward(own, past, share, last=place == len(parts) - 1), share)
            beside.add(self.method.objective.diagnostics, share)
        if (limit := self.config.optim.clip_grad) is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.method.parameters(), limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.method.after_step()
        self.diagnostics = beside.over_processes()
        return total.over_processes()

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, Batch | None]]:
        """Yield the task's rows, `micro_batch` at a time, with their share of the replayed ones."""
        replayed = int((batch.origin == 1).sum())
        count = len(batch) - replayed
        size = self.config.micro_batch or count
        for start in range(0, count, size):
            stop = min(start + size, count)
            first, last = (count + replayed * place // count for place in (start, stop))
            past = batch.rows(slice(first, last)) if last > first else None
            whole = stop - start == len(batch)
            yield batch if whole else batch.rows(slice(start, stop)), past

    def _backward(
        self, batch: Batch, past: Batch | None, share: float, *, last: bool
    ) -> dict[str, Tensor]:
        dtype = DTYPES[self.config.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            if isinstance(self.wrapped, nn.parallel.DistributedDataParallel) and not last:
                with self.wrapped.no_sync():  # gradients are exchanged once, after the last part
                    losses = self.wrapped(batch, past)
                    self.scaler.scale(share * sum(losses.values())).backward()
                return _detached(losses)
            losses = self.wrapped(batch, past)
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
        """Return this process's state: what is kept beside its memory."""
        return {name: kept.state_dict() for name, kept in self.method.kept().items()}

    def load(self, shared: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        """Load what `shared_state` returned, and `own_state` on each process of that run."""
        self.method.load_state_dict(shared["method"])
        self.optimizer.load_state_dict(shared["optimizer"])
        self.scaler.load_state_dict(shared["scaler"])
        for name, kept in self.method.kept().items():
            kept.load_parts([part[name] for part in parts], dist.rank())


def _detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.items()}


class Sums:
    """Sums of scalars by name, on a device."""

    def __init__(self, device: torch.device) -> None:
        self._zero = torch.zeros((), device=device)
        self._values: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor], share: float) -> None:
        """Add a share of each value."""
        for name, value in values.items():
            self._values[name] = self._values.get(name, self._zero) + share * value

    def over_processes(self) -> dict[str, float]:
        """Return the sums, mean over processes."""
        return {name: float(dist.mean(value)) for name, value in self._values.items()}
