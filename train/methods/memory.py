"""Rehearsal memory: a reservoir of rows in host memory."""

from typing import Any

import torch
from torch import Tensor

Rows = dict[str, Tensor]


class RehearsalMemory:
    """RehearsalMemory sampling: every row offered so far is kept with equal probability.

    Rows are float32 (or integers) on the CPU. Item n, from 0, takes slot n while there is room;
    afterwards it takes a slot r drawn from [0, n] if r is below the capacity.

    Attributes:
        capacity: Rows that it can keep.
        offered: Rows offered so far.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a memory's capacity must be at least 1, not {capacity}")
        self.capacity = capacity
        self.offered = 0
        self._rows: Rows = {}

    def __len__(self) -> int:
        return min(self.offered, self.capacity)

    def add(self, rows: Rows) -> None:
        """Offer each row of a batch, in order.

        Args:
            rows: Tensors by name, all with the same first dimension.
        """
        for index, slot in enumerate(self._slots(len(next(iter(rows.values()))))):
            if slot < self.capacity:
                for name, value in rows.items():
                    self._table(name, value)[slot].copy_(value[index].detach())

    def sample(self, count: int, device: torch.device | str = "cpu") -> tuple[Tensor, Rows]:
        """Draw rows without replacement.

        Args:
            count: Rows to draw; fewer if there are fewer.
            device: Where to put them.

        Returns:
            Slots [N] and rows by name, each [N, ...].
        """
        slots = torch.randperm(len(self))[:count]
        return slots, {name: t[slots].to(device) for name, t in self._rows.items()}

    def write(self, slots: Tensor, rows: Rows) -> None:
        """Overwrite tensors by name in some slots [N]."""
        for name, value in rows.items():
            self._rows[name][slots] = value.detach().to("cpu", self._rows[name].dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint, without the empty slots."""
        rows = {name: t[: len(self)].clone() for name, t in self._rows.items()}
        return {"capacity": self.capacity, "offered": self.offered, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state.

        Raises:
            ValueError: The state has another capacity.
        """
        if state["capacity"] != self.capacity:
            raise ValueError(
                f"the checkpoint's memory has a capacity of {state['capacity']}, not of "
                f"{self.capacity}; resume with the same memory size and process count"
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
