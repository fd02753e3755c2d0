"""One process or many: the little that the trainer needs of torch.distributed."""

import os

import torch
from torch import Tensor
from torch import distributed as td


def start(device: str) -> None:
    """Join the group that torchrun announces; nothing where it did not start us."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not td.is_initialized():
        td.init_process_group("nccl" if device.startswith("cuda") else "gloo")


def stop() -> None:
    """Leave the group."""
    if td.is_available() and td.is_initialized():
        td.destroy_process_group()


def active() -> bool:
    """Whether there is more than one process."""
    return td.is_available() and td.is_initialized()


def rank() -> int:
    """This process's number, from 0."""
    return td.get_rank() if active() else 0


def local_rank() -> int:
    """This process's number on its machine, from 0: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return td.get_world_size() if active() else 1


def barrier() -> None:
    """Wait for every process."""
    if active():
        td.barrier()


def gather_rows(x: Tensor) -> Tensor:
    """Rows of all ranks in rank order; only this rank's carry a gradient.

    Ranks may have different numbers of rows (ESMER remembers what it likes): all are padded to
    the most, and cut again.
    """
    if not active():
        return x
    counts = row_counts(x)
    padded = x.detach().new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    td.all_gather(parts, padded)
    parts = [part[:count] for part, count in zip(parts, counts, strict=True)]
    parts[rank()] = x
    return torch.cat(parts)


def row_counts(x: Tensor) -> list[int]:
    """How many rows each rank has of x."""
    if not active():
        return [len(x)]
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(world_size())]
    td.all_gather(counts, torch.tensor([len(x)], device=x.device))
    return [int(count) for count in counts]


def gather_objects(value: object) -> list[object]:
    """One value of each rank, in rank order, on every rank."""
    if not active():
        return [value]
    out: list[object] = [None] * world_size()
    td.all_gather_object(out, value)
    return out


def mean(x: Tensor) -> Tensor:
    """Average over ranks, for reporting."""
    if not active():
        return x
    total = x.detach().clone()
    td.all_reduce(total)
    return total / world_size()
