"""Checkpoints: a folder a step with one file a process, and a pointer that is moved last.

A process that dies while it writes leaves the pointer at the checkpoint before.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from avstore.manifests.foreign_files import load_tensors
from avstore.manifests.store import committing, write_text
from avstore.train import dist
from avstore.train.errors import UserError


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Save with torch.save, atomically."""
    with committing(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's error for a full disk hides the OSError
            raise error.__context__ or error from None


def save_checkpoint(folder: Path, step: int, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Save a checkpoint and remove the ones before it.

    Args:
        folder: Folder of the checkpoints.
        step: Steps done, the checkpoint's name.
        shared: State that is equal on every process; rank 0 writes it.
        own: State of this process.
    """
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    if dist.rank() == 0:
        save_tensors(place / "shared.pt", shared)
    save_tensors(place / f"rank-{dist.rank()}.pt", own)
    dist.barrier()
    if dist.rank() == 0:
        pointer = {"folder": place.name, "world_size": dist.world_size()}
        write_text(folder / "latest.json", json.dumps(pointer))
        for old in folder.glob("step-*"):
            if old != place:
                shutil.rmtree(old)
    dist.barrier()


def _pointer(path: Path) -> dict[str, Any]:
    try:
        pointer = json.loads(path.read_text())
        whole = isinstance(pointer["world_size"], int)
        if whole and re.fullmatch(r"step-[0-9]{8,}", pointer["folder"]):
            return dict(pointer)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(f"{path} names no checkpoint; remove the folder, or give another --out")


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Return the shared state of the last checkpoint and that of each process; None without any.

    Raises:
        UserError: The pointer names no checkpoint.
        StoreError: A file cannot be read.
    """
    latest = folder / "latest.json"
    if not latest.is_file():
        return None
    pointer = _pointer(latest)
    place = folder / pointer["folder"]
    parts = [place / f"rank-{number}.pt" for number in range(pointer["world_size"])]
    # Mapped: a process reads of the others' rows what it needs.
    return load_tensors(place / "shared.pt"), [load_tensors(part, mmap=True) for part in parts]
