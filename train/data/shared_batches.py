"""Pass batches between processes by memory that they share and use again.

The receiving process has a few slots, each as large as a batch. It names a slot with each step that
it asks for; the worker writes the batch's large arrays there and sends the rest by value. A slot is
named again once nobody holds an array of it.
"""

import io
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avstore.train.data.batch import Batch
from avstore.train.data.buffers import Arena, aligned

# Smaller tensors are sent by value: to share memory costs more than to copy them.
_LARGE_BYTES = 32_768
# Later batches may be a little larger than the first: their clips have more frames.
_SPARE = 1.1


@dataclass(frozen=True)
class PackedBatch:
    """A batch on its way.

    Attributes:
        content: The batch, pickled, with references in place of the tensors in the slot.
        slot: Slot that holds large tensors; None if none was given.
        fits: Whether the slot, if one was given, holds all large tensors.
    """

    content: bytes
    slot: int | None
    fits: bool


def anonymous_file(size: int) -> int:
    """Return the handle of a file in memory, which the kernel frees however its users end.

    It is not in /dev/shm, of which Docker gives 64 MB. Elsewhere than on Linux it is a file of the
    disk without a name.
    """
    if sys.platform == "linux":
        handle = os.memfd_create("avstore-batches")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle


def map_memory(handle: int, size: int) -> NDArray[np.uint8]:
    """Return the content of a file, uint8 [size], that other processes see; close the handle."""
    try:
        return np.frombuffer(mmap.mmap(handle, size), np.uint8)
    finally:
        os.close(handle)


def bytes_of(batch: Batch) -> int:
    """Return how large a slot must be for batches such as this one; 0 if it has no large tensor."""
    sizes: list[int] = []

    def add(tensor: Tensor) -> tuple[()]:
        sizes.append(aligned(tensor.nbytes))
        return ()

    _Pickler(add).dumps(batch)
    return int(sum(sizes) * _SPARE)


def pack(
    load: Callable[[], Batch], slots: Sequence[NDArray[np.uint8]], slot: int | None
) -> PackedBatch:
    """Load a batch into a slot; for workers.

    Args:
        load: Loads the batch.
        slots: The slots.
        slot: Number of the slot to use; None for none.
    """
    if slot is None:
        return PackedBatch(_Pickler(_by_value).dumps(load()), None, fits=True)
    arena = Arena(slots[slot])
    with arena.used():
        batch = load()
    outside: list[Tensor] = []

    def refer(tensor: Tensor) -> tuple[Any, ...]:
        if (place := arena.place_of(tensor)) is None:
            outside.append(tensor)
            return _by_value(tensor)
        return "slot", place, tensor.dtype, tensor.shape, tensor.stride()

    content = _Pickler(refer).dumps(batch)
    return PackedBatch(content, slot, fits=not outside)


def _by_value(tensor: Tensor) -> tuple[str, NDArray[Any]]:
    return "value", tensor.numpy()


class Slots:
    """Memory for batches, and which of it is free; for the receiving process.

    Args:
        count: Number of slots.
        size: Bytes of each.

    Attributes:
        count: Number of slots.
        size: Bytes of each.
        handles: Their files, until `close_handles`.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.handles = [anonymous_file(size) for _ in range(count)]
        self._arrays = [map_memory(os.dup(handle), size) for handle in self.handles]
        self._under_way: set[int] = set()
        self._idle = [self._references(number) for number in range(count)]

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

        def load(place: int, dtype: torch.dtype, shape: Any, stride: Any) -> Tensor:
            extent = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
            array = self._arrays[packed.slot or 0][place : place + extent * dtype.itemsize]
            values: Tensor = torch.from_numpy(array).view(dtype)
            return torch.as_strided(values, shape, stride)

        batch: Batch = _Unpickler(packed.content, load).load()
        if packed.slot is not None:
            self._under_way.discard(packed.slot)
        return batch

    def give_back_all(self) -> None:
        """Free the slots of batches that nobody waits for."""
        self._under_way.clear()

    def close_handles(self) -> None:
        """Close the files; the memory stays as long as somebody maps it."""
        for handle in self.handles:
            os.close(handle)
        self.handles = []


class _Pickler(pickle.Pickler):
    """Pickles tensors: large ones as references, others as arrays.

    Args:
        refer: Returns the reference of a large tensor.
    """

    def __init__(self, refer: Callable[[Tensor], tuple[Any, ...]]) -> None:
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, pickle.HIGHEST_PROTOCOL)
        self._refer = refer

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        return self._refer(value) if value.nbytes >= _LARGE_BYTES else _by_value(value)

    def dumps(self, batch: Batch) -> bytes:
        self.dump(batch)
        return self._buffer.getvalue()


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, load: Callable[..., Tensor]) -> None:
        super().__init__(io.BytesIO(content))
        self._load = load

    def persistent_load(self, reference: tuple[Any, ...]) -> Tensor:
        kind, *rest = reference
        return torch.from_numpy(rest[0]) if kind == "value" else self._load(*rest)
