"""Hash a file while it is read, in a thread, so that an archive is read once."""

import hashlib
import io
import queue
import threading
from typing import Any

from avstore.pipelines.fetch.sized_reader import SizedReader

_BLOCK_BYTES = 256 << 10  # several fit into a core's cache
_BLOCKS = 8
_REMOTE_GAP_BYTES = 4 << 20  # one block of a remote file


class HashedFile(SizedReader):
    """A seekable file, read in blocks, which are hashed in order.

    What is skipped is read too, so that the hash is of the whole file; but of a file that is not
    local, at most 4 MiB at once.

    Args:
        raw: The file.
        size: Its size in bytes.
        is_local: Whether reading for the hash alone is cheap.
    """

    def __init__(self, raw: io.RawIOBase, size: int, is_local: bool) -> None:
        super().__init__()
        self._raw = raw
        self.size, self.is_local = size, is_local
        self._block, self._start = memoryview(b""), 0  # the latest block
        self._hashed = 0  # bytes that were hashed or wait for it
        self._hashing = False
        self._digest = hashlib.sha256()
        # Few buffers are used again and again: the system clears each page of a new one. Only the
        # next read writes to a buffer that is free, so the latest block may be in one.
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(_BLOCKS):
            self._free.put(memoryview(bytearray(_BLOCK_BYTES)))
        self._filled: queue.SimpleQueue[tuple[memoryview, memoryview] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Hash what is read from now on; before, the directory at the end may be read."""
        self._hashing = True
        self._thread.start()

    def finish(self) -> str | None:
        """Return the sha256 of the whole file; None if it was not hashed, or parts were skipped."""
        if not self._hashing:
            return None
        self._hash_to(self.size)
        whole = self._hashing
        self._stop()
        return self._digest.hexdigest() if whole else None

    def close(self) -> None:
        """Do nothing: a buffered reader that is dropped closes its file before all is hashed."""

    def release(self) -> None:
        """Close the file."""
        if self._thread.is_alive():
            self._stop()
        self._raw.close()

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer` and return the number of bytes, 0 at the end."""
        part = self._next(len(buffer))
        memoryview(buffer)[: len(part)] = part
        return len(part)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes (-1: all), b"" at the end."""
        return self.readall() if size < 0 else bytes(self._next(size))

    def _next(self, size: int) -> memoryview:
        """Move past the next bytes, at most `size`, and return them; valid until the next call."""
        if not self._in_block():
            self._hash_to(self._position)
        if not self._in_block():
            self._read_block(self._position)
        offset = self._position - self._start
        part = self._block[offset : offset + size]
        self._position += len(part)
        return part

    def _in_block(self) -> bool:
        return self._start <= self._position < self._start + len(self._block)

    def _hash_to(self, position: int) -> None:
        """Hash the bytes up to a position, or stop hashing if they are too many."""
        if not self.is_local and position - self._hashed > _REMOTE_GAP_BYTES:
            self._hashing = False
        while self._hashing and self._hashed < position:
            self._read_block(self._hashed)
            if not self._block:
                self._hashing = False  # the file became shorter

    def _read_block(self, position: int) -> None:
        """Read the block at a position, and have the part of it hashed that was not yet."""
        buffer = self._free.get()
        self._raw.seek(position)
        count = int(self._raw.readinto(buffer) or 0)  # type: ignore[attr-defined]
        self._block, self._start = buffer[:count], position
        known = self._hashed - position
        if self._hashing and 0 <= known < count:
            self._hashed = position + count
            self._filled.put((buffer, self._block[known:]))
        else:
            self._free.put(buffer)

    def _stop(self) -> None:
        self._hashing = False
        self._filled.put(None)
        self._thread.join()

    def _run(self) -> None:
        while item := self._filled.get():
            buffer, part = item
            self._digest.update(part)
            self._free.put(buffer)
