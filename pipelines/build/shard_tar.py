"""Shards as plain tar files whose bytes depend on their members alone, with known offsets."""

import hashlib
import io
import tarfile
from typing import BinaryIO


class ShardTar:
    """Append members to a tar; fixed mode, owner and time, so that same members give same bytes.

    bytes, sha256: of what was written so far (the whole file after `close`).
    """

    def __init__(self, file: BinaryIO) -> None:
        self._sink = _Hashing(file)
        self._tar = tarfile.TarFile(None, "w", fileobj=self._sink, format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]

    def add(self, name: str, content: bytes) -> int:
        """Append a member; the offset of its content in the file."""
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        offset = int(self._tar.offset) + tarfile.BLOCKSIZE
        self._tar.addfile(info, io.BytesIO(content))
        return offset

    def close(self) -> None:
        self._tar.close()

    @property
    def bytes(self) -> int:
        return self._sink.written

    @property
    def sha256(self) -> str:
        return self._sink.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A file that hashes what passes through it."""

    def __init__(self, file: BinaryIO) -> None:
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
