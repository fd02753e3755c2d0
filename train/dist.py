"""One process or several: what the trainer needs of torch.distributed."""

import os

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


def active() -> bool:
    """Return whether there is a process group."""
    return td.is_available() and td.is_initialized()


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


def gather_rows(x: Tensor) -> Tensor:
    """Return the rows of all ranks in rank order; only this rank's rows carry a gradient.

    Ranks may have different numbers of rows (ESMER's memories do), so rows are padded to the
    largest number for the exchange.

    Args:
        x: This rank's rows [B, ...].
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
    total = x.detach().clone()
    td.all_reduce(total)
    return total / world_size()
