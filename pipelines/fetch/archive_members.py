"""The members of an archive, one after the other, whatever it is packed with.

Hostile archives are expected: a member is only ever a name to compare and a stream to read. What
grows out of proportion is refused, a damaged member costs itself.
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
#: Video does not compress: a member that grows a hundredfold is none.
MAX_RATIO = 100
_RATIO_FROM = 16 << 20
#: What reading a damaged archive raises.
DAMAGE = (
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
    """An archive or member that grows out of all proportion."""


@dataclass(frozen=True)
class Member:
    """A file in an archive. stem, extension: of its name's last part. refused: why not to read it.

    open: a stream of its bytes, to be read before the next member is asked for.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    refused: str = ""

    @property
    def stem(self) -> str:
        return self._base.rpartition(".")[0]

    @property
    def extension(self) -> str:
        return self._base.rpartition(".")[2].lower()

    @property
    def _base(self) -> str:
        return PurePosixPath(self.name.replace("\\", "/")).name


def kind_of(head: bytes) -> str | None:
    """zip, tar, gzip, bzip2 or xz, by the first 512 bytes; None: no archive."""
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


def members(file: io.RawIOBase, label: str) -> Iterator[Member]:
    """The regular files in the archive `file`. Raises SourceError, and DAMAGE midway."""
    head = file.read(512) or b""
    file.seek(0)
    kind = kind_of(head)
    buffered = io.BufferedReader(file, 1 << 20)
    if kind == "zip":
        return _zip(buffered, label)
    if kind == "tar":
        return _tar(buffered, "r:")
    if unpack := _UNPACKERS.get(kind or ""):
        return _tar(cast(IO[bytes], _Measured(unpack(buffered), buffered)), "r|")
    raise SourceError(
        f"{label} is no archive of a known kind (zip, tar, tar.gz, tar.bz2, tar.xz); it begins "
        f"with {head[:8].hex(' ') or 'nothing: it is empty'}"
    )


def _zip(file: IO[bytes], label: str) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_MEMBERS:
            raise SourceError(f"{label} has {len(entries):,} members, more than {MAX_MEMBERS:,}")
        for entry in entries:
            refused = ""
            if entry.flag_bits & 1:
                refused = "it is encrypted"
            elif entry.file_size > max(_RATIO_FROM, MAX_RATIO * entry.compress_size):
                refused = f"{entry.compress_size} bytes would grow to {entry.file_size}"
            if not entry.is_dir():
                opener = partial(archive.open, entry)
                yield Member(entry.filename, entry.file_size, opener, refused)


def _tar(file: IO[bytes], mode: str) -> Iterator[Member]:
    # ignore_zeros: a damaged header is skipped block by block, till the next that is sound.
    opened = cast(tarfile.TarFile, _open_tar(fileobj=file, mode=mode, ignore_zeros=True))
    with opened as archive:
        for _ in range(MAX_MEMBERS):
            entry = archive.next()
            if entry is None:
                return
            archive.members.clear()  # type: ignore[attr-defined] # it would keep every header for ever
            refused = "" if entry.isreg() else "it is a link or a device, which is not followed"
            if not entry.isdir():
                yield Member(entry.name, entry.size, partial(_stream, archive, entry), refused)
    raise BombError(f"more than {MAX_MEMBERS:,} members")


def _stream(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(entry)
    if stream is None:
        raise tarfile.ReadError(f"{entry.name} has no content")
    return stream


class _Measured(io.RawIOBase):
    """A decompressing stream that refuses to grow out of proportion."""

    def __init__(self, unpacked: IO[bytes], packed: IO[bytes]) -> None:
        super().__init__()
        self.unpacked = unpacked
        self.packed = packed
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.unpacked.read(size)
        self.count += len(data)
        if self.count > max(_RATIO_FROM, MAX_RATIO * self.packed.tell()):
            raise BombError(f"{self.packed.tell()} bytes grew to {self.count}")
        return data


def _gunzip(packed: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=packed))


_UNPACKERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": _gunzip,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
