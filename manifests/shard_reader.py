"""Bytes of members from shards: by range, coalesced, and checked to be what was asked for."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from avstore.manifests.store import StoreError

_HEADER = 512
# Between local ranges this near, the bytes between are read along rather than asked twice.
_LOCAL_GAP = 8 << 10
# Read at once where a shard is read from end to end.
_LOCAL_CHUNK = 4 << 20
_OPEN_FILES = 128


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard file. path: relative to the store's root."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A sample that could not be used: which, where, why. offset: in the shard, None unknown."""

    clip_id: str
    shard: str
    offset: int | None
    reason: str

    def __str__(self) -> str:
        where = self.shard if self.offset is None else f"{self.shard} at offset {self.offset}"
        return f"{self.clip_id} in {where}: {self.reason}"


class BadSampleError(StoreError):
    """A sample that cannot be read or decoded. problem: which, where, why."""

    def __init__(self, problem: Problem | str) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A member to read. name: its whole name in the tar."""

    shard: Shard
    name: str
    offset: int
    size: int


class ReadError(Exception):
    """A range that could not be had. offset: where in the shard, None: the file as a whole."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Reader(Protocol):
    """Reads byte ranges of shards."""

    gap: int
    chunk: int

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset + size). Raises ReadError where they cannot be had whole."""
        ...

    def renew(self, shard: Shard, start: int, stop: int) -> bool:
        """Bytes [start, stop) that were read are wrong: let go of what is held of them. Whether
        reading again may give others."""
        ...


class _File(FileIO):
    """A file that is closed when it is neither kept nor read any more."""

    def __del__(self) -> None:
        self.close()


class LocalReader:
    """Reads files of a folder with pread, through a bounded number of open ones; threads may read
    side by side."""

    gap = _LOCAL_GAP
    chunk = _LOCAL_CHUNK

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._open: OrderedDict[str, _File] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        with self._lock:
            file = self._file(shard)  # stays open while it is held here
        parts, got = [], 0
        while got < size:
            part = os.pread(file.fileno(), size - got, offset + got)
            if not part:
                raise ReadError(f"the shard ends at byte {offset + got}", offset)
            parts.append(part)
            got += len(part)
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    def read_into(self, shard: Shard, offset: int, buffers: Sequence[Any]) -> int:
        """Fill these from `offset` on; how many bytes were read. Raises ReadError."""
        with self._lock:
            file = self._file(shard)
        return os.preadv(file.fileno(), buffers, offset)

    def _file(self, shard: Shard) -> _File:
        file = self._open.get(shard.path)
        if file is not None:
            self._open.move_to_end(shard.path)
            return file
        try:
            file = _File(self._root / shard.path)
        except OSError as error:
            raise ReadError(f"the shard cannot be opened: {error.strerror}") from error
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

    def renew(self, shard: Shard, start: int, stop: int) -> bool:
        """Whether another file lies in the place of the one that was open."""
        with self._lock:
            file = self._open.pop(shard.path, None)
        if file is None:
            return False
        try:
            there = (self._root / shard.path).stat()
        except OSError:
            return False
        held = os.fstat(file.fileno())
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def close(self) -> None:
        """Let go of every file."""
        with self._lock:
            self._open.clear()


def read_members(reader: Reader, wanted: Sequence[ByteRange]) -> list[memoryview]:
    """Contents of members of one shard, near ones by one read; the header in front of each is
    compared with the name and size that were asked for.

    Raises ReadError where one is not there.
    """
    found: list[memoryview] = [memoryview(b"")] * len(wanted)
    for span in _spans(wanted, reader.gap):
        first, last = wanted[span[0]], wanted[span[-1]]
        start = first.offset - _HEADER
        content = reader.read(first.shard, start, last.offset + last.size - start)
        for place in span:
            item = wanted[place]
            at = item.offset - start
            _check_header(content[at - _HEADER : at], item)
            found[place] = content[at : at + item.size]
    return found


def reread(reader: Reader, wanted: Sequence[ByteRange]) -> bool:
    """Members of one shard prove wrong: whether to read them again, past what the reader held."""
    if not wanted:
        return False
    stop = max(item.offset + item.size for item in wanted)
    return reader.renew(wanted[0].shard, min(item.offset for item in wanted) - _HEADER, stop)


def _spans(wanted: Sequence[ByteRange], gap: int) -> list[list[int]]:
    """Places in `wanted`, grouped so that those of a group lie near one another."""
    spans: list[list[int]] = []
    end = 0
    for place in sorted(range(len(wanted)), key=lambda place: wanted[place].offset):
        item = wanted[place]
        if spans and item.offset - _HEADER - end <= gap:
            spans[-1].append(place)
        else:
            spans.append([place])
        end = max(end, item.offset + item.size) if len(spans[-1]) > 1 else item.offset + item.size
    return spans


def _check_header(header: memoryview, item: ByteRange) -> None:
    """Compare a tar header with what should follow it."""
    raw = bytes(header)
    if as_written(raw, item):
        return
    if raw[257:262] != b"ustar":
        raise ReadError(
            "there is no tar header there: the shard is damaged or was rebuilt; run avstore verify",
            item.offset,
        )
    name = raw[:100].rstrip(b"\0").decode("utf-8", "replace")
    prefix = raw[345:500].split(b"\0", 1)[0].decode("utf-8", "replace")
    if raw[257:263] == b"ustar\0" and prefix:
        name = f"{prefix}/{name}"
    try:
        size = int(raw[124:136].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        size = -1
    if len(item.name) <= 100 and (name, size) != (item.name, item.size):
        raise ReadError(
            f"the shard holds {name} ({size} bytes) there and not {item.name} ({item.size} bytes): "
            "the store was rebuilt since the list was made, or the shard is damaged; start anew, "
            "or run avstore verify",
            item.offset,
        )


def as_written(raw: bytes, item: ByteRange) -> bool:
    """Whether it is the header that avstore writes for this member: seen without parsing it."""
    name = item.name.encode()
    return (
        len(name) <= 100
        and raw[:100] == name.ljust(100, b"\0")
        and raw[124:136] == b"%011o\0" % item.size
        and raw[257:263] == b"ustar\0"
        and raw[345] == 0
    )
