"""Hash a file while it is read, in a thread, so that an archive is read once."""

import hashlib
import io
import queue
import threading
from typing import Any

from avstore.pipelines.fetch.sized_reader import SizedReader

_BLOCK_BYTES = 1 << 20
_QUEUED_BLOCKS = 32
_REMOTE_GAP_BYTES = 4 << 20  # one block of a remote file


class HashedFile(SizedReader):
    """A seekable file whose bytes are hashed in order as they are read.

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
        self._hashed = 0
        self._hashing = False
        self._digest = hashlib.sha256()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUED_BLOCKS)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Hash what is read from now on; before, the directory at the end may be read."""
        self._hashing = True
        self._thread.start()

    def finish(self) -> str | None:
        """Return the sha256 of the whole file; None if it was not hashed, or parts were skipped."""
        if not self._hashing:
            return None
        self._skip_to(self.size)
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
        if self._hashing and self._position > self._hashed:
            self._skip_to(self._position)
        count = self._read_at(self._position, buffer)
        if self._hashing:
            known = self._hashed - self._position
            if known < count:
                self._put(bytes(memoryview(buffer)[max(0, known) : count]))
        self._position += count
        return count

    def _read_at(self, position: int, buffer: Any) -> int:
        self._raw.seek(position)
        return int(self._raw.readinto(buffer) or 0)  # type: ignore[attr-defined]

    def _skip_to(self, position: int) -> None:
        """Hash the bytes up to a position, or stop hashing if they are too many."""
        if not self.is_local and position - self._hashed > _REMOTE_GAP_BYTES:
            self._hashing = False
        while self._hashing and self._hashed < position:
            block = bytearray(min(_BLOCK_BYTES, position - self._hashed))
            count = self._read_at(self._hashed, block)
            if not count:
                self._hashing = False  # the file became shorter
            self._put(bytes(block[:count]))

    def _put(self, block: bytes) -> None:
        self._hashed += len(block)
        self._blocks.put(block)

    def _stop(self) -> None:
        self._hashing = False
        self._blocks.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._digest.update(block)
