"""Iterate over the members of a zip or tar archive.

Archives may be hostile: a member's name is only compared, never used as a path, and data that
decompresses out of proportion is refused. A damaged member does not affect the others.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, cast

from avstore.pipelines.fetch.source import SourceError

MAX_MEMBERS = 10_000_000
#: Video barely compresses, so a member that grows a hundredfold is not one.
MAX_RATIO = 100
_RATIO_MIN_BYTES = 16 << 20
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
    """An archive that decompresses out of proportion or has too many members."""


@dataclass(frozen=True)
class ArchiveMember:
    """A file in an archive.

    Attributes:
        name: Its path in the archive.
        size: Its uncompressed size in bytes, as the archive states it.
        open: Returns a stream of its bytes, to be read before the next member is requested.
        refused: Why it must not be read, or ''.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    refused: str = ""

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
    file.seek(0)
    kind = detect_archive(head)
    buffered = io.BufferedReader(file, 1 << 20)
    if kind == "zip":
        return _zip(buffered, label)
    if kind == "tar":
        return _tar(buffered, "r:")
    if decompress := _DECOMPRESSORS.get(kind or ""):
        return _tar(cast(IO[bytes], _BoundedStream(decompress(buffered), buffered)), "r|")
    raise SourceError(
        f"{label} is no archive of a known kind (zip, tar, tar.gz, tar.bz2, tar.xz): it "
        + (f"begins with the bytes {head[:8].hex(' ')}" if head else "is empty")
    )


def _zip(file: IO[bytes], label: str) -> Iterator[ArchiveMember]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_MEMBERS:
            raise SourceError(
                f"{label} has {len(entries):,} members, more than the limit of {MAX_MEMBERS:,}; "
                "split it"
            )
        for entry in entries:
            refused = ""
            if entry.flag_bits & 1:
                refused = "it is encrypted"
            elif entry.file_size > max(_RATIO_MIN_BYTES, MAX_RATIO * entry.compress_size):
                refused = f"{entry.compress_size} bytes decompress to {entry.file_size}"
            if not entry.is_dir():
                opener = partial(archive.open, entry)
                yield ArchiveMember(entry.filename, entry.file_size, opener, refused)


def _tar(file: IO[bytes], mode: str) -> Iterator[ArchiveMember]:
    # ignore_zeros: a damaged header is skipped block by block up to the next valid one.
    opened = cast(tarfile.TarFile, _open_tar(fileobj=file, mode=mode, ignore_zeros=True))
    with opened as archive:
        for _ in range(MAX_MEMBERS):
            entry = archive.next()
            if entry is None:
                return
            archive.members.clear()  # type: ignore[attr-defined] # or it keeps every header
            refused = "" if entry.isreg() else "it is a link or a device, not a regular file"
            if not entry.isdir():
                yield ArchiveMember(
                    entry.name, entry.size, partial(_stream, archive, entry), refused
                )
    raise BombError(f"it has more than {MAX_MEMBERS:,} members")


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
        if self.count > max(_RATIO_MIN_BYTES, MAX_RATIO * self.compressed.tell()):
            raise BombError(f"{self.compressed.tell()} bytes decompress to {self.count}")
        return data


def _gunzip(compressed: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=compressed))


_DECOMPRESSORS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": _gunzip,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
