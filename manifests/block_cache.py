"""Cache blocks of remote shards on the local disk, keyed by the shard's sha256.

Any number of processes may share a folder, and any file in it may be deleted at any time: blocks
are written by rename, end with their CRC-32, and are fetched again where they are missing or
damaged. Threads of one process that need the same block at the same time fetch it once. A folder
that takes no blocks (no rights, no space) is reported once, and the blocks are read without it.
"""

import logging
import os
import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

_LOG = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
_CRC_BYTES = 4
# The folder is scanned each time this share of the limit was written.
_SCAN_SHARE = 0.05
# Blocks are removed down to this share of the limit, least recently used first.
_KEEP_SHARE = 0.9

Fetch = Callable[[int, int], bytes]


class BlockCache:
    """A folder of blocks of 1 MiB, named <shard's sha256>-<block number>.

    Args:
        folder: Cache folder; blocks are kept in its subfolder blocks/.
        limit_bytes: Approximate size limit.
    """

    def __init__(self, folder: str | Path, limit_bytes: int) -> None:
        self.folder = Path(folder) / "blocks"
        self.limit_bytes = limit_bytes
        self._written = limit_bytes  # scan the folder at the first write
        self._pending: dict[str, Future[bytes]] = {}
        self._lock = threading.Lock()
        self._reported = False

    def read(
        self,
        sha256: str,
        shard_bytes: int,
        start: int,
        stop: int,
        fetch: Fetch,
    ) -> bytes:
        """Return bytes [start, stop) of a shard.

        Args:
            sha256: The shard's sha256.
            shard_bytes: Size of the shard; 0 if unknown.
            start: First byte.
            stop: End of the range, exclusive.
            fetch: Returns bytes [start, stop) of missing blocks; called once per run of neighbours.
        """
        end = shard_bytes or stop
        blocks = range(start // BLOCK_BYTES, (max(stop, start + 1) - 1) // BLOCK_BYTES + 1)
        names = {block: f"{sha256}-{block}" for block in blocks}
        mine, others = self._claim(names)
        try:
            held = {block: _load(self._path(names[block]), _length(block, end)) for block in mine}
            for run in _runs([block for block in mine if held[block] is None]):
                held |= self._fetched(names, run, end, fetch)
        except BaseException as error:
            self._resolve(names, mine, error)
            raise
        self._resolve(names, mine, held)
        held |= {block: future.result() for block, future in others.items()}
        whole = b"".join(held[block] or b"" for block in blocks)
        at = start - blocks[0] * BLOCK_BYTES
        return whole[at : at + stop - start]

    def drop(self, sha256: str, start: int, stop: int) -> None:
        """Remove the blocks of bytes [start, stop)."""
        for block in range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1):
            with suppress(OSError):
                self._path(f"{sha256}-{block}").unlink()

    def _claim(
        self, names: dict[int, str]
    ) -> tuple[dict[int, Future[bytes]], dict[int, Future[bytes]]]:
        """Return the blocks that this thread loads, and those that another one is loading."""
        mine, others = {}, {}
        with self._lock:
            for block, name in names.items():
                if name in self._pending:
                    others[block] = self._pending[name]
                else:
                    mine[block] = self._pending[name] = Future()
        return mine, others

    def _resolve(
        self,
        names: dict[int, str],
        mine: dict[int, Future[bytes]],
        found: dict[int, bytes | None] | BaseException,
    ) -> None:
        """Pass blocks or an error on to waiting threads.

        It runs before this thread waits for other blocks, so that no two threads wait for each
        other.
        """
        with self._lock:
            for block in mine:
                del self._pending[names[block]]
        for block, future in mine.items():
            if isinstance(found, BaseException):
                future.set_exception(found)
            else:
                future.set_result(found[block] or b"")

    def _fetched(
        self, names: dict[int, str], run: Sequence[int], end: int, fetch: Fetch
    ) -> dict[int, bytes]:
        """Fetch a run of neighbouring blocks by one request and store them."""
        low, high = run[0] * BLOCK_BYTES, min((run[-1] + 1) * BLOCK_BYTES, end)
        content = fetch(low, high)
        found = {}
        for block in run:
            at = block * BLOCK_BYTES - low
            found[block] = content[at : at + BLOCK_BYTES]
            try:
                self._keep(self._path(names[block]), found[block])
            except OSError as error:  # a full disk must not stop the run
                self._report(error)
        return found

    def _report(self, error: OSError) -> None:
        """Warn once that blocks cannot be kept, unless another process deleted the folder."""
        if self._reported or isinstance(error, FileNotFoundError):
            return
        self._reported = True
        _LOG.warning(
            "the cache of remote shards in %s takes no blocks: %s; every read goes to the server "
            "(choose another folder by AVSTORE_CACHE, or free space)",
            self.folder,
            error.strerror or error,
        )

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _keep(self, path: Path, content: bytes) -> None:
        if self._written >= self.limit_bytes * _SCAN_SHARE:
            self._written = 0
            self._make_room(len(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with temp.open("wb") as file:
                file.write(content)
                file.write(_crc(content))
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        self._written += len(content)

    def _make_room(self, incoming: int) -> None:
        """Remove the least recently used blocks if the folder is over its limit."""
        found = []
        for path in self.folder.glob("*/*"):
            with suppress(OSError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        held = sum(size for _, size, _ in found) + incoming
        if held <= self.limit_bytes * (1 - _SCAN_SHARE):
            return
        for _, size, path in sorted(found):
            if held <= self.limit_bytes * _KEEP_SHARE * (1 - _SCAN_SHARE):
                return
            with suppress(OSError):
                path.unlink()
                held -= size


def _length(block: int, end: int) -> int:
    return min(BLOCK_BYTES, end - block * BLOCK_BYTES)


def _load(path: Path, length: int) -> bytes | None:
    """Return a block if its file is whole and undamaged, and update its time of use."""
    with suppress(OSError):
        file = path.read_bytes()
        content = file[:-_CRC_BYTES]
        if len(content) == length and file[-_CRC_BYTES:] == _crc(content):
            os.utime(path)
            return content
    return None


def _crc(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CRC_BYTES, "little")


def _runs(blocks: list[int]) -> list[list[int]]:
    """Group consecutive numbers."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and runs[-1][-1] == block - 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs
