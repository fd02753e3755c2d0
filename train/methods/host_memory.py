"""Reservoirs of rows in host memory, for methods whose memory depends on what they compute."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from avstore.train import dist
from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.methods.base import Memory, MemoryOptions, Method, Options, Setup
from avstore.train.methods.kept import Parts, Rows
from avstore.train.methods.pixels import batch_of, inputs_of
from avstore.train.objective import Objective


class RehearsalMemory:
    """Reservoir sampling: every row offered so far is kept with equal probability.

    Rows are float32 (or integers) on the CPU. Item n, from 0, takes slot n while there is room;
    afterwards it takes a slot r drawn from [0, n] if r is below the capacity. With several
    reservoirs, each is offered an equal part of every batch and gives an equal part of every draw,
    as those of several processes.

    Args:
        capacity: Rows that all reservoirs can keep.
        reservoirs: Number of reservoirs of equal size.

    Attributes:
        capacity: Rows that it can keep.
        offered: Rows offered so far, to each reservoir.
    """

    def __init__(self, capacity: int, reservoirs: int = 1) -> None:
        if capacity < reservoirs or reservoirs < 1:
            raise ValueError(
                f"a memory needs a row and more for each reservoir, not {capacity} for {reservoirs}"
            )
        self._size = capacity // reservoirs
        self.capacity = self._size * reservoirs
        self.offered = [0] * reservoirs
        self._rows: Rows = {}

    def __len__(self) -> int:
        return len(self._filled())

    def add(self, rows: Rows) -> None:
        """Offer each row of a batch, in order.

        Args:
            rows: Tensors by name, all with the same first dimension.
        """
        parts = torch.arange(len(next(iter(rows.values())))).tensor_split(len(self.offered))
        for number, part in enumerate(parts):
            for index, slot in zip(part.tolist(), self._slots(number, len(part)), strict=True):
                if slot < self._size:
                    for name, value in rows.items():
                        kept = self._table(name, value)[number * self._size + slot]
                        kept.copy_(value[index].detach())

    def sample(self, count: int, device: torch.device | str = "cpu") -> tuple[Tensor, Rows]:
        """Draw rows without replacement.

        Args:
            count: Rows to draw; fewer if there are fewer.
            device: Where to put them.

        Returns:
            Slots [N] and rows by name, each [N, ...].
        """
        counts = torch.arange(count).tensor_split(len(self.offered))
        drawn = [
            number * self._size + torch.randperm(min(offered, self._size))[: len(part)]
            for number, (offered, part) in enumerate(zip(self.offered, counts, strict=True))
        ]
        slots = torch.cat(drawn)
        return slots, {name: t[slots].to(device) for name, t in self._rows.items()}

    def write(self, slots: Tensor, rows: Rows) -> None:
        """Overwrite tensors by name in some slots [N]."""
        for name, value in rows.items():
            self._rows[name][slots] = value.detach().to("cpu", self._rows[name].dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, without the empty slots."""
        filled = self._filled()
        rows = {name: t[filled] for name, t in self._rows.items()}
        return {"capacity": self.capacity, "offered": self.offered, "rows": rows}

    def load_parts(self, parts: Parts, rank: int) -> None:
        """Load the state of this process.

        Args:
            parts: States by process.
            rank: This process.

        Raises:
            UserError: There were more processes or fewer.
            ValueError: The state has another capacity or another number of reservoirs.
        """
        if len(parts) != dist.world_size():
            raise UserError(
                f"the checkpoint was written by {len(parts)} processes, each with rows of its own "
                f"in host memory; resume with as many, not {dist.world_size()}, or start with "
                "another --out"
            )
        state = parts[rank]
        offered = state["offered"]
        offered = [offered] if isinstance(offered, int) else list(offered)  # int: older versions
        if (state["capacity"], len(offered)) != (self.capacity, len(self.offered)):
            raise ValueError(
                f"the checkpoint's memory has a capacity of {state['capacity']} in {len(offered)} "
                f"reservoir(s), not of {self.capacity} in {len(self.offered)}; resume with the "
                "same memory size and process count"
            )
        self.offered = offered
        self._rows = {}
        for name, value in state["rows"].items():
            self._table(name, value)[self._filled()] = value

    def _filled(self) -> Tensor:
        """Return the slots that hold a row, in order."""
        starts = enumerate(self.offered)
        held = [torch.arange(min(n, self._size)) + number * self._size for number, n in starts]
        return torch.cat(held)

    def _slots(self, reservoir: int, count: int) -> list[int]:
        first = self.offered[reservoir]
        numbers = torch.arange(first, first + count)
        drawn = (torch.rand(count, dtype=torch.float64) * (numbers + 1)).long()
        self.offered[reservoir] += count
        return torch.where(numbers < self._size, numbers, drawn).tolist()  # type: ignore[no-any-return]

    def _table(self, name: str, like: Tensor) -> Tensor:
        if name not in self._rows:
            dtype = torch.float32 if like.is_floating_point() else like.dtype
            self._rows[name] = torch.zeros(self.capacity, *like.shape[1:], dtype=dtype)
        return self._rows[name]


class HostMemoryMethod(Method):
    """A method that keeps the inputs of rows themselves.

    Such a run resumes on as many processes only.

    Attributes:
        memory: This process's reservoirs.
    """

    Options: ClassVar[type[Options]] = MemoryOptions

    def __init__(self, objective: Objective, options: Any, setup: Setup) -> None:
        super().__init__(objective, options, setup)
        # A kept row may be replayed in a step that sees another of its features.
        evaluation, training = objective.specs
        objective.specs = evaluation, replace(training, turns=None)
        size: Memory = options.memory(setup)
        own = size.reservoirs // setup.world_size
        self.memory = RehearsalMemory(size.rows // setup.world_size, own)

    def kept(self) -> Mapping[str, Any]:
        """Return the memory."""
        return {"memory": self.memory}

    def draw_rows(self, count: int) -> tuple[Tensor, Rows]:
        """Draw rows of the memory, without replacement; fewer if it holds fewer.

        Returns:
            Slots [N] and rows by name, each [N, ...], on the system's device.
        """
        if not len(self.memory):
            return torch.empty(0, dtype=torch.long), {}
        return self.memory.sample(count, next(self.objective.parameters()).device)

    def draw_past(self, batch: Batch) -> Batch | None:
        """Draw as many rows as a batch has; None while the memory is empty."""
        _, rows = self.draw_rows(len(batch))
        return batch_of(rows, batch) if rows else None

    def remember(self, batch: Batch, **more: Tensor) -> None:
        """Offer the batch's rows to the memory, with further tensors [B, ...] by name."""
        self.memory.add({**inputs_of(batch), **more})
