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


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the shared state and this process's state of the last checkpoint, None without any.

    Raises:
        UserError: The checkpoint was written by another number of processes.
    """
    latest = folder / "latest.json"
    if not latest.is_file():
        return None
    pointer = _pointer(latest)
    if pointer["world_size"] != dist.world_size():
        raise UserError(
            f"{folder} was written by {pointer['world_size']} processes and each keeps its own "
            f"memory; resume with as many, not {dist.world_size()}, or start with another --out"
        )
    place = folder / pointer["folder"]
    parts = [place / "shared.pt", place / f"rank-{dist.rank()}.pt"]
    shared, own = (load_tensors(part) for part in parts)
    return shared, own
