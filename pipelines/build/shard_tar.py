"""Write tar files whose bytes depend on their members alone, with known offsets."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from typing import BinaryIO, Protocol


class ByteSink(Protocol):
    """What a tar is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of the data."""
        ...


class ShardTar:
    """A tar file being written; mode, owner and time are fixed, so equal members give equal bytes.

    Args:
        file: The file to write to, open for writing in binary mode.
    """

    def __init__(self, file: BinaryIO | ByteSink) -> None:
        self._sink = _Hashing(file)
        self._tar = tarfile.TarFile(None, "w", fileobj=self._sink, format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]

    def add(self, name: str, content: bytes) -> int:
        """Append a member and return the byte offset of its content in the file."""
        return self.add_all([(name, content)])[0]

    def add_all(self, members: Sequence[tuple[str, bytes]]) -> list[int]:
        """Append members (name, content) and return the byte offsets of their contents.

        As `TarFile.addfile`, but in one piece: hashing and writing many small ones takes longer.
        """
        offsets, parts, end = [], [], int(self._tar.offset)
        for name, content in members:
            header = member_header(name, len(content))
            padding = bytes(-len(content) % tarfile.BLOCKSIZE)
            offsets.append(end + len(header))
            end += len(header) + len(content) + len(padding)
            parts += [header, content, padding]
        self.append(b"".join(parts))
        return offsets

    def append(self, content: bytes) -> None:
        """Append whole members as another `ShardTar` wrote them, headers and padding included."""
        self._sink.write(content)
        self._tar.offset += len(content)

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()

    @property
    def bytes(self) -> int:
        """Bytes written so far; the size of the file after `close`."""
        return self._sink.written

    @property
    def sha256(self) -> str:
        """The sha256 of the bytes written so far; of the whole file after `close`."""
        return self._sink.digest.hexdigest()


def member_header(name: str, size: int) -> bytes:
    """Return the header of a file in a tar, as tarfile writes it, in a third of its time."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) > tarfile.LENGTH_NAME or size >= 8**_SIZE_DIGITS:
        return _plain_header(name, size)
    header = bytearray(_BLANK_HEADER)
    header[: len(encoded)] = encoded
    header[_SIZE : _SIZE + _SIZE_DIGITS] = b"%0*o" % (_SIZE_DIGITS, size)
    header[_CHECKSUM : _CHECKSUM + 7] = b"%06o\0" % sum(header)  # an eighth byte stays blank
    return bytes(header)


def _plain_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")


_SIZE, _SIZE_DIGITS, _CHECKSUM = 124, 11, 148  # fields of a header
_BLANK_HEADER = _plain_header("", 0)[:_CHECKSUM] + b" " * 8 + _plain_header("", 0)[_CHECKSUM + 8 :]


class _Hashing(io.RawIOBase):
    """A file that hashes and counts the bytes written to it."""

    def __init__(self, file: BinaryIO | ByteSink) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.written

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        self._file.write(data)
        self.written += len(data)
        return len(data)
