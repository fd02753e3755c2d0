"""Checkpoints: a folder a step with one file a process, and a pointer that moves at the end.

A process that dies while writing leaves the pointer where it was.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from avstore.train import dist
from avstore.train.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary file beside it, flushed to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """torch.save, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what it makes of a full disk
            raise error.__context__ or error from None
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save(folder: Path, step: int, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """`shared` is the same on every process (rank 0 writes it), `own` is this one's."""
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    if dist.rank() == 0:
        save_tensors(place / "shared.pt", shared)
    save_tensors(place / f"rank-{dist.rank()}.pt", own)
    dist.barrier()
    if dist.rank() == 0:
        told = {"folder": place.name, "world_size": dist.world_size()}
        write_atomically(folder / "latest.json", json.dumps(told).encode())
        for old in folder.glob("step-*"):
            if old != place:
                shutil.rmtree(old)
    dist.barrier()


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The last checkpoint, shared part and this process's own; None where there is none."""
    pointer = folder / "latest.json"
    if not pointer.is_file():
        return None
    told = json.loads(pointer.read_text())
    if told["world_size"] != dist.world_size():
        raise UserError(
            f"{folder} was written by {told['world_size']} processes and memories are kept a "
            f"process; resume with as many, not {dist.world_size()}, or start with another --out"
        )
    place = folder / told["folder"]
    parts = [place / "shared.pt", place / f"rank-{dist.rank()}.pt"]
    shared, own = (torch.load(part, map_location="cpu", weights_only=True) for part in parts)
    return shared, own
