"""One process or several: what the trainer needs of torch.distributed.

Row n of a global batch is with process n mod `world_size`, for current rows and for replayed ones.
Every process seeds a step alike, so that `rand` and `rand_like` can draw for the whole batch and
take the own rows of it: what is drawn does not depend on the number of processes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as td


def start(device: str) -> None:
    """Join the process group if torchrun started this process.

    Args:
        device: Type of the device, which picks the backend: NCCL for "cuda", else Gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not td.is_initialized():
        td.init_process_group("nccl" if device.startswith("cuda") else "gloo")


def stop() -> None:
    """Leave the process group."""
    if td.is_available() and td.is_initialized():
        td.destroy_process_group()


_alone = False  # whether this process is inside `alone`


@contextmanager
def alone() -> Iterator[None]:
    """Compute as the only process inside the block, on batches that the others do not see."""
    global _alone  # noqa: PLW0603 -- one for the process, as its group is
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def active() -> bool:
    """Return whether there is a process group, of which this process computes a part."""
    return not _alone and td.is_available() and td.is_initialized()


def rank() -> int:
    """Return this process's number in the group, from 0."""
    return td.get_rank() if active() else 0


def local_rank() -> int:
    """Return this process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Return the number of processes."""
    return td.get_world_size() if active() else 1


def barrier() -> None:
    """Wait until every process is here."""
    if active():
        td.barrier()


def of_first(value: float) -> float:
    """Return the first process's value on every process."""
    values = [value]
    if active():
        td.broadcast_object_list(values, src=0)
    return float(values[0])


def rand(rows: int, *shape: int, device: torch.device) -> Tensor:
    """Draw numbers in [0, 1) for this process's rows [rows, ...]."""
    drawn = torch.rand(rows * world_size(), *shape, device=device)
    return drawn[rank() :: world_size()]


def rand_like(x: Tensor) -> Tensor:
    """Draw numbers in [0, 1) in the shape of this process's rows [B, ...]."""
    everywhere = x.repeat_interleave(world_size(), 0) if active() else x
    return torch.rand_like(everywhere)[rank() :: world_size()]


def in_order(gathered: Tensor) -> Tensor:
    """Return equally many rows of each process, in rank order, in the order of the global batch."""
    rows = gathered.reshape(world_size(), -1, *gathered.shape[1:])
    return rows.transpose(0, 1).flatten(0, 1)


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes in rank order, with their gradients.

    Processes may have different numbers of rows (ESMER's memories do), so rows are padded to the
    largest number for the exchange.

    Args:
        x: This process's rows [B, ...].
    """
    if not active():
        return x
    gathered: Tensor = _GatherRows.apply(x, row_counts(x))  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """Rows of all processes; a row's gradient is the sum of what each process has for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = x.new_zeros(max(counts), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in counts]
        td.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].contiguous()
        td.all_reduce(total)
        first = sum(ctx.counts[: rank()])
        return total[first : first + ctx.counts[rank()]], None


def row_counts(x: Tensor) -> list[int]:
    """Return each rank's number of rows of x."""
    if not active():
        return [len(x)]
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(world_size())]
    td.all_gather(counts, torch.tensor([len(x)], device=x.device))
    return [int(count) for count in counts]


def mean(x: Tensor) -> Tensor:
    """Return the average over ranks, without gradient."""
    if not active():
        return x
    return total(x) / world_size()


def total(x: Tensor) -> Tensor:
    """Return the sum over ranks, without gradient."""
    summed = x.detach().clone()
    if active():
        td.all_reduce(summed)
    return summed
