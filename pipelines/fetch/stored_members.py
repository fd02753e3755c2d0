"""Read the uncompressed members of a zip in one piece each, without zipfile's stream objects."""

import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable

_LOCAL_HEADER = struct.Struct("<6xH18xHH")  # flags, bytes of the name and of the extra field
_SIGNATURE = b"PK\x03\x04"
_UTF8_NAME = 0x800
_CODED = 0x1 | 0x20 | 0x40  # encrypted, patched, strongly encrypted


class StoredMembers:
    """Read the members of a zip of which none is compressed; threads may read at the same time.

    Args:
        file: The zip; nothing else reads it meanwhile.
    """

    @staticmethod
    def reads(entries: Iterable[zipfile.ZipInfo]) -> bool:
        """Return whether no member of a zip is compressed, encrypted or patched."""
        return all(
            entry.compress_type == zipfile.ZIP_STORED
            and entry.compress_size == entry.file_size
            and not entry.flag_bits & _CODED
            for entry in entries
        )

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self, entry: zipfile.ZipInfo) -> bytes:
        """Return the content of a member.

        Raises:
            zipfile.BadZipFile: Its header is not that of the directory, or its CRC-32 is wrong.
            EOFError: The file ends before it does.
        """
        with self._lock:
            self._file.seek(entry.header_offset)
            header = self._read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
                raise zipfile.BadZipFile(f"no header of {entry.filename!r}")
            flags, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
            name = self._read(name_bytes)
            self._file.seek(extra_bytes, io.SEEK_CUR)
            content = self._read(entry.file_size)
        encoding = "utf-8" if flags & _UTF8_NAME else "cp437"
        if name.decode(encoding, "replace") != entry.orig_filename:
            raise zipfile.BadZipFile(f"{entry.filename!r} has another name in its header")
        if len(content) < entry.file_size:
            raise EOFError(f"{len(content)} of {entry.file_size} bytes")
        if zlib.crc32(content) != entry.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry.filename!r}")
        return content

    def _read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end of the file."""
        parts = []
        while size and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
