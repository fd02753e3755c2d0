"""What a method keeps beside the rows of its memory, by the plan's slots."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Rows = dict[str, Tensor]
Parts = Sequence[dict[Any, Any]]


class Kept:
    """Tables of tensors by name, with a row for each slot of the reservoirs of this process.

    Process p of W has the reservoirs p, p + W, …, whose rows it alone sees.

    Args:
        capacity: Slots of all reservoirs.
        reservoirs: Number of reservoirs.
        rank: This process.
        world_size: Number of processes; divides the number of reservoirs.
    """

    def __init__(
        self, capacity: int, reservoirs: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        self._size = capacity // reservoirs
        self._world_size = world_size
        self.own = range(rank, reservoirs, world_size)
        self._tables: Rows = {}

    def write(self, slots: Tensor, **values: Tensor) -> None:
        """Keep values [B, ...] of rows in their slots [B]; rows with slot -1 are not kept."""
        rows = (slots >= 0).nonzero()[:, 0].cpu()
        places = self._places(slots.cpu()[rows])
        for name, value in values.items():
            self._table(name, value)[places] = (
                value.detach()[rows.to(value.device)].cpu().to(self._table(name, value).dtype)
            )

    def read(self, slots: Tensor, device: torch.device | str = "cpu") -> Rows:
        """Return what is kept of rows by their slots [N]: tensors [N, ...] by name."""
        places = self._places(slots.cpu())
        return {name: table[places].to(device) for name, table in self._tables.items()}

    def state_dict(self) -> dict[int, Rows]:
        """Return the tables of each reservoir of this process."""
        return {
            reservoir: {
                name: table[number * self._size : (number + 1) * self._size]
                for name, table in self._tables.items()
            }
            for number, reservoir in enumerate(self.own)
        }

    def load_parts(self, parts: Parts, rank: int) -> None:
        """Load the tables of this process's reservoirs from the states of all processes.

        Args:
            parts: States by process, of any number of them.
            rank: This process.
        """
        self._tables = {}
        for state in parts:
            for number, reservoir in enumerate(self.own):
                for name, value in state.get(reservoir, {}).items():
                    table = self._table(name, value)
                    table[number * self._size : (number + 1) * self._size] = value

    def _places(self, slots: Tensor) -> Tensor:
        reservoirs = slots // self._size
        return reservoirs // self._world_size * self._size + slots % self._size

    def _table(self, name: str, like: Tensor) -> Tensor:
        if name not in self._tables:
            dtype = torch.float32 if like.is_floating_point() else like.dtype
            rows = len(self.own) * self._size
            self._tables[name] = torch.zeros(rows, *like.shape[1:], dtype=dtype)
        return self._tables[name]
