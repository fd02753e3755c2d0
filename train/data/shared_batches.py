"""Pass batches between processes by memory that they share and use again.

The receiving process has a few slots, each as large as a batch. It names a slot with each step that
it asks for; the worker writes the batch's large arrays there and sends the rest by value. A slot is
named again once nobody holds an array of it.
"""

import io
import logging
import pickle
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avstore.train.data.batch import Batch
from avstore.train.data.buffers import Arena, aligned

# Smaller tensors are sent by value: to share memory costs more than to copy them.
_LARGE_BYTES = 32_768
# Later batches may be a little larger than the first: their clips have more frames.
_SPARE = 1.1
_SHARED_MEMORY = Path("/dev/shm")
# Share of the free memory that slots may take: others need some too.
_USABLE = 0.8
_LOG = logging.getLogger("avstore")


@dataclass(frozen=True)
class PackedBatch:
    """A batch on its way.

    Attributes:
        content: The batch, pickled, with references in place of its large tensors.
        slot: Slot that holds large tensors; None if none was given.
        others: Large tensors that are not in the slot.
    """

    content: bytes
    slot: int | None
    others: tuple[Tensor, ...]


def make_slots(batch: Batch, count: int) -> tuple[Tensor, ...]:
    """Return shared memory for `count` batches such as this one, uint8 [bytes] each.

    Fewer, with a warning, if the machine has too little; none if the batch has no large tensor.
    """
    sizes: list[int] = []
    _Pickler(lambda tensor: sizes.append(aligned(tensor.nbytes))).dumps(batch)
    if not sizes:
        return ()
    size = int(sum(sizes) * _SPARE)
    return tuple(_shared(size) for _ in range(_room(size, count)))


def _room(size: int, count: int) -> int:
    """Return how many slots fit: a process that writes beyond the memory that there is dies."""
    if not _SHARED_MEMORY.is_dir():
        return count
    free = shutil.disk_usage(_SHARED_MEMORY).free
    fitting = int(free * _USABLE) // size
    if fitting < count:
        _LOG.warning(
            "%s has %.1f MB free, and loader processes can use %.1f MB: batches are copied, which "
            "costs more; allow more shared memory (docker run --shm-size=8g), or use fewer workers",
            *(_SHARED_MEMORY, free / 1e6, count * size / 1e6 / _USABLE),
        )
    return min(count, fitting)


def _shared(size: int) -> Tensor:
    tensor = torch.empty(size, dtype=torch.uint8)
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def pack(load: Callable[[], Batch], slots: Sequence[Tensor], slot: int | None) -> PackedBatch:
    """Load a batch into a slot; for workers.

    Args:
        load: Loads the batch.
        slots: The slots.
        slot: Number of the slot to use; None for none.
    """
    others: list[Tensor] = []

    def by_value(tensor: Tensor) -> tuple[str, int]:
        others.append(tensor)
        return "other", len(others) - 1

    if slot is None:
        return PackedBatch(_Pickler(by_value).dumps(load()), None, tuple(others))
    arena = Arena(slots[slot].numpy())
    with arena.used():
        batch = load()

    def refer(tensor: Tensor) -> tuple[Any, ...]:
        if (place := arena.place_of(tensor)) is None:
            return by_value(tensor)
        return "slot", place, tensor.dtype, tensor.shape, tensor.stride()

    return PackedBatch(_Pickler(refer).dumps(batch), slot, tuple(others))


class SlotUse:
    """Which slots are free; for the receiving process.

    Args:
        slots: The slots.
    """

    def __init__(self, slots: Sequence[Tensor]) -> None:
        self._arrays = [slot.numpy() for slot in slots]
        self._under_way: set[int] = set()
        self._idle = [self._references(number) for number in range(len(slots))]

    def _references(self, number: int) -> int:
        return sys.getrefcount(self._arrays[number])

    def take(self) -> int | None:
        """Return the number of a free slot, which is not free until `unpack`; None without any."""
        for number, idle in enumerate(self._idle):
            if number not in self._under_way and self._references(number) == idle:
                self._under_way.add(number)
                return number
        return None

    def unpack(self, packed: PackedBatch) -> Batch:
        """Return the batch. Its large tensors hold the slot."""

        def load(reference: tuple[Any, ...]) -> Tensor:
            if reference[0] == "other":
                other: Tensor = packed.others[reference[1]]
                return other
            _, place, dtype, shape, stride = reference
            extent = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
            array = self._arrays[packed.slot or 0][place : place + extent * dtype.itemsize]
            values: Tensor = torch.from_numpy(array).view(dtype)
            return torch.as_strided(values, shape, stride)

        batch: Batch = _Unpickler(packed.content, load).load()
        if packed.slot is not None:
            self._under_way.discard(packed.slot)
        return batch


class _Pickler(pickle.Pickler):
    """Pickles tensors: large ones as references, others as arrays.

    Args:
        refer: Returns the reference of a large tensor.
    """

    def __init__(self, refer: Callable[[Tensor], Any]) -> None:
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, pickle.HIGHEST_PROTOCOL)
        self._refer = refer

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        return self._refer(value) if value.nbytes >= _LARGE_BYTES else ("small", value.numpy())

    def dumps(self, batch: Batch) -> bytes:
        self.dump(batch)
        return self._buffer.getvalue()


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, load: Callable[[tuple[Any, ...]], Tensor]) -> None:
        super().__init__(io.BytesIO(content))
        self._load = load

    def persistent_load(self, reference: Any) -> Tensor:
        kind, *rest = reference
        return torch.from_numpy(rest[0]) if kind == "small" else self._load(reference)
