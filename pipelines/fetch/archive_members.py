"""Iterate over the members of a zip or tar archive.

Archives may be hostile: a member's name is only compared, never used as a path, and data that
expands out of proportion is refused, for each member and for the archive as a whole. Headers are
read into memory, so their size is bounded. A damaged member does not affect the others.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, cast

from avstore.pipelines.fetch.source import SourceError
from avstore.pipelines.fetch.stored_members import StoredMembers

MAX_MEMBERS = 10_000_000
#: Video barely compresses, so a member or an archive that grows a hundredfold is not one.
MAX_RATIO = 100
_RATIO_MIN_BYTES = 16 << 20
#: The headers of one tar member, with its long name, its PAX records and its map of holes.
_MAX_HEADER_BYTES = 1 << 20
#: A zip's directory, which zipfile reads at once: two million members with names of 80 bytes.
_MAX_DIRECTORY_BYTES = 256 << 20
#: Exceptions that reading a damaged archive raises.
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)

_open_tar: Callable[..., object] = tarfile.open


class BombError(Exception):
    """An archive that expands out of proportion, or has too many members or too large headers."""


@dataclass(frozen=True)
class ArchiveMember:
    """A file in an archive.

    Attributes:
        name: Its path in the archive.
        size: Its uncompressed size in bytes, as the archive states it.
        open: Returns a stream of its bytes, to be read before the next member is requested.
        refused: Why it must not be read, or ''.
        crc32: Of its uncompressed bytes, if the archive states it.
        whole: Returns its bytes at once, where that is faster; not while a stream is read.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    refused: str = ""
    crc32: int | None = None
    whole: Callable[[], bytes] | None = None

    def read(self) -> bytes:
        """Return its bytes."""
        if self.whole:
            return self.whole()
        with self.open() as stream:
            return stream.read()

    @property
    def path(self) -> str:
        """Its path with forward slashes, without `./` at the start."""
        return self.name.replace("\\", "/").removeprefix("./")

    @property
    def extension(self) -> str:
        """The file name's extension in lower case, without the dot."""
        return self._file_name.rpartition(".")[2].lower()

    @property
    def _file_name(self) -> str:
        return PurePosixPath(self.path).name


def detect_archive(head: bytes) -> str | None:
    """Return the format of an archive: zip, tar, gzip, bzip2, xz, or None for other files.

    Args:
        head: The file's first 512 bytes.
    """
    for signature, kind in (
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
    ):
        if head.startswith(signature):
            return kind
    return "tar" if head[257:262] == b"ustar" else None


def iter_members(file: io.RawIOBase, label: str) -> Iterator[ArchiveMember]:
    """Yield the files in an archive in order; links and devices come with `refused` set.

    Args:
        file: The archive, seekable.
        label: The archive's name in messages.

    Raises:
        SourceError: The file is no archive of a known format, or has too many members.
        BombError: The data decompresses out of proportion.
        DAMAGE_ERRORS: The archive is damaged; raised while iterating.
    """
    head = file.read(512) or b""
    budget = _Budget(file.seek(0, io.SEEK_END))
    file.seek(0)
    kind = detect_archive(head)
    if kind == "zip":
        return _zip(file, label, budget)
    buffered = io.BufferedReader(file, 1 << 20)
    if kind == "tar":
        return _tar(buffered, budget)
    if decompress := _DECOMPRESSORS.get(kind or ""):
        return _tar(cast(IO[bytes], _BoundedStream(decompress(buffered), buffered)), budget)
    raise SourceError(
        f"{label} is no archive of a known kind (zip, tar, tar.gz, tar.bz2, tar.xz): it "
        + (f"begins with the bytes {head[:8].hex(' ')}" if head else "is empty")
    )


def _ratio_problem(packed: int, size: int) -> str:
    """Return why so many bytes must not come from `packed` ones, or ''."""
    if size > max(_RATIO_MIN_BYTES, MAX_RATIO * packed):
        return f"{packed} bytes decompress to {size}"
    return ""


@dataclass
class _Budget:
    """The bytes that the members of an archive may have together."""

    archive_bytes: int
    taken: int = 0

    def take(self, count: int) -> None:
        """Count bytes of a member; BombError when the archive has grown out of proportion."""
        self.taken += count
        if problem := _ratio_problem(self.archive_bytes, self.taken):
            raise BombError(problem)

    def open(self, opener: Callable[[], IO[bytes]]) -> IO[bytes]:
        """Open a member whose bytes are counted."""
        return cast(IO[bytes], _CountedStream(opener(), self))

    def read(self, reader: Callable[[], bytes]) -> bytes:
        """Return the bytes of a member, counted."""
        content = reader()
        self.take(len(content))
        return content


class _CountedStream(io.RawIOBase):
    """A member's bytes, counted as they are read."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        super().__init__()
        self.stream = stream
        self.budget = budget

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.budget.take(len(data))
        return data

    def close(self) -> None:
        self.stream.close()
        super().close()


def _zip(file: io.RawIOBase, label: str, budget: _Budget) -> Iterator[ArchiveMember]:
    # Not closed at the end of the iteration: members may still be read. The file is the caller's.
    archive = zipfile.ZipFile(_DirectoryReader(file, budget.archive_bytes))
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise SourceError(
            f"{label} has {len(entries):,} members, more than the limit of {MAX_MEMBERS:,}; "
            "split it"
        )
    stored = StoredMembers(file) if StoredMembers.reads(entries) else None
    for entry in entries:
        refused = _ratio_problem(entry.compress_size, entry.file_size)
        if entry.flag_bits & 1:
            refused = "it is encrypted"
        if not entry.is_dir():
            opener = partial(budget.open, partial(archive.open, entry))
            whole = partial(budget.read, partial(stored.read, entry)) if stored else None
            yield ArchiveMember(entry.filename, entry.file_size, opener, refused, entry.CRC, whole)


class _DirectoryReader(io.BufferedReader):
    """A zip file whose directory is not read where it is too large for the memory."""

    def __init__(self, file: io.RawIOBase, size: int) -> None:
        super().__init__(file, 1 << 20)
        self.file_bytes = size

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self.file_bytes - self.tell())
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > _MAX_DIRECTORY_BYTES:
            raise BombError(
                f"its directory of {wanted} bytes is larger than {_MAX_DIRECTORY_BYTES}; split it"
            )
        return super().read(size)


def _tar(file: IO[bytes], budget: _Budget) -> Iterator[ArchiveMember]:
    reader = _TarReader(file)
    # ignore_zeros: a damaged header is skipped block by block up to the next valid one.
    with _header_errors():
        opened = _open_tar(fileobj=reader, mode="r:", ignore_zeros=True)
    with cast(tarfile.TarFile, opened) as archive:
        for _ in range(MAX_MEMBERS):
            entry = reader.next_member(archive)
            if entry is None:
                return
            if not entry.isdir():
                opener = partial(budget.open, partial(_stream, archive, entry))
                yield ArchiveMember(entry.name, entry.size, opener, _refusal(entry))
    raise BombError(f"it has more than {MAX_MEMBERS:,} members")


@contextmanager
def _header_errors() -> Iterator[None]:
    """Raise ReadError for what tarfile makes of numbers that are none."""
    try:
        yield
    except (ValueError, OverflowError, LookupError) as error:
        raise tarfile.ReadError(f"a damaged header: {error}") from error


def _refusal(entry: tarfile.TarInfo) -> str:
    """Return why a member of a tar must not be read, or ''."""
    if not entry.isreg():
        return "it is a link or a device, not a regular file"
    parts: list[tuple[int, int]] | None = getattr(entry, "sparse", None)
    if parts is not None:
        return _ratio_problem(sum(size for _, size in parts), entry.size)
    return ""


class _TarReader:
    """The file that tarfile reads: forward only, and with bounded headers.

    A tar's headers may claim any size, and tarfile reads them into memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.position = 0
        self._header_bytes = 0
        self._in_header = True  # opening a TarFile reads the first header

    def next_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Return the next member of the archive that reads this file, or None at its end."""
        self._in_header, self._header_bytes = True, 0
        with _header_errors():
            entry = archive.next()
        self._in_header = False
        archive.members.clear()  # type: ignore[attr-defined] # or it keeps every header
        archive.pax_headers = {}  # and every global one
        if entry is not None and entry.size < 0:
            raise tarfile.ReadError(f"{entry.name} claims {entry.size} bytes")
        return entry

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.position

    def seek(self, offset: int) -> int:
        """Skip to a later position."""
        if offset < self.position:
            raise tarfile.ReadError(f"a header claims a size that leads back to byte {offset}")
        if isinstance(self.file, _BoundedStream):
            while self.position < offset and self._skip(offset - self.position):
                pass
        else:
            self.position = self.file.seek(offset)
        return self.position

    def read(self, size: int) -> bytes:
        """Read some bytes; BombError where a header is too large."""
        if self._in_header:
            self._header_bytes += size
            # Blocks of zeros or of damage, one after the other, are no header.
            if size == tarfile.BLOCKSIZE and self._header_bytes == tarfile.BLOCKSIZE:
                self._header_bytes = 0
            if self._header_bytes > _MAX_HEADER_BYTES:
                raise BombError(f"a header of more than {_MAX_HEADER_BYTES} bytes")
        data = self.file.read(size)
        self.position += len(data)
        return data

    def _skip(self, count: int) -> int:
        skipped = len(self.file.read(min(count, 1 << 20)))
        self.position += skipped
        return skipped


def _stream(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(entry)
    if stream is None:
        raise tarfile.ReadError(f"{entry.name} has no content")
    return stream


class _BoundedStream(io.RawIOBase):
    """A decompressing stream that raises BombError when it grows out of proportion."""

    def __init__(self, decompressed: IO[bytes], compressed: IO[bytes]) -> None:
        super().__init__()
        self.decompressed = decompressed
        self.compressed = compressed
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.decompressed.read(size)
        self.count += len(data)
        if problem := _ratio_problem(self.compressed.tell(), self.count):
            raise BombError(problem)
        return data


def _gunzip(compressed: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=compressed))


_DECOMPRESSORS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": _gunzip,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
