"""The interface of a file of a known size that is read at any position."""

import io


class SizedReader(io.RawIOBase):
    """A raw file to read; subclasses set `size` and give `readinto`.

    Attributes:
        size: Bytes of the file.
    """

    size: int
    _position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position
