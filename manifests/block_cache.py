"""Blocks of remote shards on the local disk, by the shard's content: bounded, and shareable.

Any number of processes may use one folder, and any file in it may be deleted at any time: a block
appears whole by rename, is checked by its length, and one that is gone is fetched again.
Threads of one process that want the same block at the same time fetch it once.
"""

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

BLOCK_BYTES = 1 << 20
# The folder is looked over after so much of the limit was written.
_LOOK_SHARE = 0.05
# Emptied down to this share of the limit, oldest use first.
_KEEP_SHARE = 0.9

Fetch = Callable[[int, int], bytes]


class BlockCache:
    """At most about `limit_bytes` of blocks under `folder`, named <shard's sha256>-<block>."""

    def __init__(self, folder: str | Path, limit_bytes: int) -> None:
        self.folder = Path(folder) / "blocks"
        self.limit_bytes = limit_bytes
        self._written = limit_bytes  # look over what is there at the first write
        self._coming: dict[str, Future[bytes]] = {}
        self._lock = threading.Lock()

    def read(
        self,
        sha256: str,
        shard_bytes: int,
        start: int,
        stop: int,
        fetch: Fetch,
    ) -> bytes:
        """Bytes [start, stop) of a shard; fetch(start, stop) gives what is not here, a run of
        neighbouring blocks at a time."""
        end = shard_bytes or stop
        blocks = range(start // BLOCK_BYTES, (max(stop, start + 1) - 1) // BLOCK_BYTES + 1)
        names = {block: f"{sha256}-{block}" for block in blocks}
        mine, others = self._share_out(names)
        try:
            held = {block: _load(self._path(names[block]), _length(block, end)) for block in mine}
            for run in _runs([block for block in mine if held[block] is None]):
                held |= self._fetched(names, run, end, fetch)
        except BaseException as error:
            self._hand_over(names, mine, error)
            raise
        self._hand_over(names, mine, held)
        held |= {block: future.result() for block, future in others.items()}
        whole = b"".join(held[block] or b"" for block in blocks)
        at = start - blocks[0] * BLOCK_BYTES
        return whole[at : at + stop - start]

    def drop(self, sha256: str, start: int, stop: int) -> bool:
        """Remove the blocks of these bytes, which have proved wrong; whether there were any."""
        blocks = range(start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1)
        found = [path for path in (self._path(f"{sha256}-{n}") for n in blocks) if path.exists()]
        for path in found:
            with suppress(OSError):
                path.unlink()
        return bool(found)

    def _share_out(
        self, names: dict[int, str]
    ) -> tuple[dict[int, Future[bytes]], dict[int, Future[bytes]]]:
        """The blocks that this thread brings, and those that another one is bringing already."""
        mine, others = {}, {}
        with self._lock:
            for block, name in names.items():
                if name in self._coming:
                    others[block] = self._coming[name]
                else:
                    mine[block] = self._coming[name] = Future()
        return mine, others

    def _hand_over(
        self,
        names: dict[int, str],
        mine: dict[int, Future[bytes]],
        found: dict[int, bytes | None] | BaseException,
    ) -> None:
        """Give the other threads what they wait for. This comes before waiting for theirs, so
        that no two threads wait for one another."""
        with self._lock:
            for block in mine:
                del self._coming[names[block]]
        for block, future in mine.items():
            if isinstance(found, BaseException):
                future.set_exception(found)
            else:
                future.set_result(found[block] or b"")

    def _fetched(
        self, names: dict[int, str], run: Sequence[int], end: int, fetch: Fetch
    ) -> dict[int, bytes]:
        """Neighbouring blocks by one request, kept here."""
        low, high = run[0] * BLOCK_BYTES, min((run[-1] + 1) * BLOCK_BYTES, end)
        content = fetch(low, high)
        found = {}
        for block in run:
            at = block * BLOCK_BYTES - low
            found[block] = content[at : at + BLOCK_BYTES]
            with suppress(OSError):  # a full or vanished disk costs the cache, never the run
                self._keep(self._path(names[block]), found[block])
        return found

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def _keep(self, path: Path, content: bytes) -> None:
        if self._written >= self.limit_bytes * _LOOK_SHARE:
            self._written = 0
            self._make_room(len(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            temp.write_bytes(content)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        self._written += len(content)

    def _make_room(self, coming: int) -> None:
        """Remove the blocks that were not used for longest, if there are too many."""
        found = []
        for path in self.folder.glob("*/*"):
            with suppress(OSError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        held = sum(size for _, size, _ in found) + coming
        if held <= self.limit_bytes * (1 - _LOOK_SHARE):
            return
        for _, size, path in sorted(found):
            if held <= self.limit_bytes * _KEEP_SHARE * (1 - _LOOK_SHARE):
                return
            with suppress(OSError):
                path.unlink()
                held -= size


def _length(block: int, end: int) -> int:
    return min(BLOCK_BYTES, end - block * BLOCK_BYTES)


def _load(path: Path, length: int) -> bytes | None:
    """A block as it lies there, if it is whole; its use is noted."""
    with suppress(OSError):
        content = path.read_bytes()
        if len(content) == length:
            os.utime(path)
            return content
    return None


def _runs(blocks: list[int]) -> list[list[int]]:
    """Neighbouring numbers together."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and runs[-1][-1] == block - 1:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs
