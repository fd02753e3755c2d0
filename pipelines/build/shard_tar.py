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
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
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
