"""Read byte ranges of shards: what a reader is, and the reader of local shards."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from avstore.manifests.names import is_relative
from avstore.manifests.store import StoreError

# A gap this small between two local ranges costs less to read than a second call.
_LOCAL_GAP = 8 << 10
# Bytes per call when a local shard is read from end to end.
_LOCAL_CHUNK = 4 << 20
_OPEN_FILES = 128


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard file.

    Attributes:
        path: Path relative to the store's root.
        sha256: Hex digest of the file; "" if unknown.
        bytes: Size of the file; 0 if unknown.
    """

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that could not be used.

    Attributes:
        clip_id: `<dataset>/<key>`.
        shard: Shard's path relative to the store.
        offset: Byte offset in the shard, or None if unknown.
        reason: What is wrong with it.
    """

    clip_id: str
    shard: str
    offset: int | None
    reason: str

    def __str__(self) -> str:
        where = self.shard if self.offset is None else f"{self.shard} at offset {self.offset}"
        return f"{self.clip_id} in {where}: {self.reason}"


class BadSampleError(StoreError):
    """A sample that cannot be read or decoded.

    Attributes:
        problem: The sample and the reason.
    """

    def __init__(self, problem: BadSample | str) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Content of a member: bytes [offset, offset + size) of a shard.

    Attributes:
        shard: The shard that holds it.
        name: Full name of the member in the tar.
        offset: Start of the content in bytes; its tar header is the 512 bytes before.
        size: Size of the content in bytes.
    """

    shard: Shard
    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, stop) of a shard."""

    shard: Shard
    start: int
    stop: int


class ReadError(Exception):
    """A byte range that cannot be read.

    Attributes:
        reason: What is wrong.
        offset: Byte offset in the shard, or None if the whole file is affected.
    """

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Reader(Protocol):
    """Reads byte ranges of a store's shards.

    Attributes:
        gap: Largest gap in bytes across which two ranges are read by one request.
        chunk: Bytes per request when a shard is read from end to end.
    """

    gap: int
    chunk: int

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        """Return bytes [offset, offset + size). Raise ReadError if they are not all available."""
        ...

    def prefetching(self, spans: Sequence[Span]) -> AbstractContextManager[None]:
        """Start fetching these spans, and hold them while the block runs."""
        ...

    def invalidate(self, shard: Shard, start: int, stop: int) -> bool:
        """Drop cached bytes [start, stop); return whether a re-read may differ."""
        ...


class _File(FileIO):
    """A file that closes itself once neither the reader nor a running read holds it."""

    def __del__(self) -> None:
        self.close()


class LocalReader:
    """Reads shards under a local folder with pread; threads may read at the same time.

    It keeps at most 128 files open.
    """

    gap = _LOCAL_GAP
    chunk = _LOCAL_CHUNK

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        """Return bytes [offset, offset + size). Raise ReadError if they are not all available."""
        with self._lock:
            file = self._file(shard)  # this reference keeps it open if it is evicted meanwhile
        parts, got = [], 0
        while got < size:
            try:
                part = os.pread(file.fileno(), size - got, offset + got)
            except OSError as error:
                raise _unreadable(error, offset + got) from error
            if not part:
                length = os.fstat(file.fileno()).st_size
                raise ReadError(
                    f"the shard ends at byte {length}, before byte {offset + size}; "
                    "run avstore verify",
                    offset,
                )
            parts.append(part)
            got += len(part)
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    def read_into(self, shard: Shard, offset: int, buffers: Sequence[Any]) -> int:
        """Fill the buffers from `offset` on; return the bytes read. Raise ReadError on failure."""
        with self._lock:
            file = self._file(shard)
        try:
            return os.preadv(file.fileno(), buffers, offset)
        except OSError as error:
            raise _unreadable(error, offset) from error

    def _file(self, shard: Shard) -> _File:
        file = self._open.get(shard.path)
        if file is not None:
            self._open.move_to_end(shard.path)
            return file
        if not is_relative(shard.path):
            raise ReadError("the shard is outside of the store; run avstore verify")
        try:
            file = _File(self._root / shard.path)
        except OSError as error:
            raise ReadError(
                f"the shard cannot be opened: {error.strerror}; run avstore verify"
            ) from error
        size = os.fstat(file.fileno()).st_size
        if shard.bytes and size != shard.bytes:
            raise ReadError(
                f"the shard has {size} bytes and the manifest says {shard.bytes}: it was cut off "
                "or rebuilt; run avstore verify"
            )
        self._open[shard.path] = file
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)
        return file

    def prefetching(self, spans: Sequence[Span]) -> AbstractContextManager[None]:
        """Do nothing: the operating system reads ahead."""
        return nullcontext()

    def invalidate(self, shard: Shard, start: int, stop: int) -> bool:
        """Close the shard's file; return whether another file has replaced it since."""
        with self._lock:
            file = self._open.pop(shard.path, None)
        if file is None:
            return False
        try:
            current = (self._root / shard.path).stat()
        except OSError:
            return False
        held = os.fstat(file.fileno())
        return (current.st_dev, current.st_ino) != (held.st_dev, held.st_ino)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._open.clear()


def _unreadable(error: OSError, offset: int) -> ReadError:
    return ReadError(f"the shard cannot be read: {error.strerror}; check the disk", offset)


_READERS: dict[tuple[str, str, str, int], Reader] = {}


def open_reader(
    url: str, options: Mapping[str, Any] | None = None, cache: tuple[str, int] | None = None
) -> Reader:
    """Return this process's reader of the store at `url`.

    Args:
        url: Root of the store, a local folder or an fsspec URL.
        options: fsspec options of a remote store.
        cache: Folder and size limit in bytes of a block cache for a remote store.
    """
    key = (url, repr(options), repr(cache), os.getpid())  # a forked child needs its own threads
    if key not in _READERS:
        remote = "://" in url
        _READERS[key] = _remote(url, options or {}, cache) if remote else LocalReader(url)
    return _READERS[key]


def _remote(url: str, options: Mapping[str, Any], cache: tuple[str, int] | None) -> Reader:
    # Imported here because a local store needs neither fsspec nor its clients.
    from avstore.manifests.block_cache import BlockCache  # noqa: PLC0415
    from avstore.manifests.remote_reader import RemoteReader  # noqa: PLC0415

    return RemoteReader(url, dict(options), BlockCache(*cache) if cache else None)
