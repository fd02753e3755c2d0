"""Rehearsal memory: a reservoir of rows in host memory (spec 3.4)."""

from typing import Any

import torch
from torch import Tensor

Rows = dict[str, Tensor]


class Reservoir:
    """Every row ever offered is in it with the same probability: capacity / rows offered.

    Rows are float32 (or integers) on the CPU. Item n (from 0) takes slot n while there is room,
    afterwards slot r drawn from 0..n, if r is below the capacity.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"the memory needs room for one item at least, not {capacity}")
        self.capacity = capacity
        self.offered = 0
        self._rows: Rows = {}

    def __len__(self) -> int:
        return min(self.offered, self.capacity)

    def add(self, rows: Rows) -> None:
        """Offer each row of the batch, in order. All tensors have the same first dimension."""
        for index, slot in enumerate(self._slots(len(next(iter(rows.values()))))):
            if slot < self.capacity:
                for name, value in rows.items():
                    self._table(name, value)[slot].copy_(value[index].detach())

    def sample(self, count: int, device: torch.device | str = "cpu") -> tuple[Tensor, Rows]:
        """`count` rows without replacement, or all there are: their slots and contents."""
        slots = torch.randperm(len(self))[:count]
        return slots, {name: t[slots].to(device) for name, t in self._rows.items()}

    def write(self, slots: Tensor, rows: Rows) -> None:
        """Overwrite some columns of some slots."""
        for name, value in rows.items():
            self._rows[name][slots] = value.detach().to("cpu", self._rows[name].dtype)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the filled part only."""
        rows = {name: t[: len(self)].clone() for name, t in self._rows.items()}
        return {"capacity": self.capacity, "offered": self.offered, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; its capacity must be this one's."""
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the checkpoint's memory holds {state['capacity']} items, "
                f"this run's {self.capacity}: resume with the same memory size and process count"
            )
        self.offered = state["offered"]
        self._rows = {}
        for name, value in state["rows"].items():
            self._table(name, value)[: len(value)].copy_(value)

    def _slots(self, count: int) -> list[int]:
        numbers = torch.arange(self.offered, self.offered + count)
        drawn = (torch.rand(count, dtype=torch.float64) * (numbers + 1)).long()
        self.offered += count
        return torch.where(numbers < self.capacity, numbers, drawn).tolist()  # type: ignore[no-any-return]

    def _table(self, name: str, like: Tensor) -> Tensor:
        if name not in self._rows:
            dtype = torch.float32 if like.is_floating_point() else like.dtype
            self._rows[name] = torch.zeros(self.capacity, *like.shape[1:], dtype=dtype)
        return self._rows[name]
