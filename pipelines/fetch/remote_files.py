"""Files at any fsspec address, read by ranges: a connection that breaks costs one block."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from avstore.pipelines.fetch.source import SourceError

_LOG = logging.getLogger(__name__)
_BLOCK = 4 << 20
_TRIES = 7
_READ_TIMEOUT_S = 60.0
#: What a network may throw at a reader (fsspec's own timeouts are OSErrors).
NETWORK_ERRORS = (OSError, aiohttp.ClientError, EOFError)


class NoRanges(OSError):  # noqa: N818 - reads as a fact about the server
    """A server that sends a file only from its beginning."""


_REFUSALS = (401, 403, 404, 410, 451)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NoRanges)


@dataclass(frozen=True)
class Place:
    """A file or folder of a file system. url: as a person would write it."""

    fs: Any
    path: str
    url: str

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rsplit("/", 1)[-1]


def place(url: str, storage: Mapping[str, Mapping[str, Any]]) -> Place:
    """The place that `url` (or a local path) names. storage: options by protocol.

    Raises SourceError where the protocol is unknown or its package is not installed.
    """
    protocol = urlsplit(url).scheme if "://" in url else "file"
    options = dict(storage.get(protocol, {}))
    if protocol in ("http", "https"):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=_READ_TIMEOUT_S)
        options.setdefault("client_kwargs", {}).setdefault("timeout", timeout)
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise SourceError(
            f"{protocol}:// needs a package that is not installed ({error}); "
            f"install it (pip install 'avstore[{protocol}]')"
        ) from error
    except ValueError as error:
        raise SourceError(f"{url}: {error}") from error
    return Place(fs, path, url)


def list_files(folder: Place) -> list[str]:
    """The paths of all files below a folder. Raises SourceError."""
    try:
        found = sorted(str(path) for path in retrying()(folder.fs.find, folder.path))
        if not found and not exists(folder):  # some file systems list nothing where nothing is
            raise SourceError(f"{folder.url} does not exist or cannot be reached; check SOURCE")
        return found
    except FileNotFoundError as error:
        raise SourceError(f"{folder.url} does not exist; check SOURCE") from error
    except NETWORK_ERRORS as error:
        raise SourceError(f"{folder.url} cannot be listed: {_said(error)}") from error


def exists(file: Place) -> bool:
    """Whether a file is there; a server in trouble is asked again. Raises OSError."""
    try:
        retrying()(file.fs.info, file.path)
    except FileNotFoundError:
        return False
    return True


def retrying(wait_scale: float = 1.0) -> Retrying:
    """Tries again what a network may have broken, ever later, at most for some minutes."""
    return Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=0.5 * wait_scale, max=60.0),
        before_sleep=_tell,
        reraise=True,
    )


class PartedFile(io.RawIOBase):
    """Several files one after the other (a split archive, or just one), as one to read from.

    Bytes come in blocks by range requests; a block that fails is asked for again, from where it
    broke. Raises OSError where that goes on failing, or a file changed in length meanwhile.
    """

    def __init__(self, parts: Sequence[Place], wait_scale: float = 1.0) -> None:
        super().__init__()
        self.parts = list(parts)
        self.retry = retrying(wait_scale)
        self.sizes = [self._size(part) for part in self.parts]
        self.size = sum(self.sizes)
        self._at = 0
        self._open: tuple[int, Any] | None = None
        self._block = (0, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        start, data = self._block
        if not start <= self._at < start + len(data):
            start, data = self._block = self._at, self._fetch(self._at)
        offset = self._at - start
        count = min(len(buffer), len(data) - offset)
        buffer[:count] = data[offset : offset + count]
        self._at += count
        return count

    def close(self) -> None:
        self._drop()
        super().close()

    def _fetch(self, at: int) -> bytes:
        """The block at `at`, within one part; b'' at the end."""
        for number, size in enumerate(self.sizes):
            if at < size:
                length = min(_BLOCK, size - at)
                return bytes(self.retry.copy()(self._read, number, at, length))
            at -= size
        return b""

    def _read(self, number: int, at: int, length: int) -> bytes:
        try:
            if self._open is None or self._open[0] != number:
                self._drop()
                self._open = number, open_ranges(self.parts[number])
            handle = self._open[1]
            handle.seek(at)
            data: bytes = handle.read(length)
        except BaseException:
            self._drop()
            raise
        if len(data) != length:
            self._drop()
            raise EOFError(
                f"{self.parts[number].url}: {len(data)} bytes at {at}, expected {length}"
            )
        return data

    def _size(self, part: Place) -> int:
        size = self.retry.copy()(part.fs.size, part.path)
        if size is None:
            raise OSError(f"{part.url}: the server does not say how long it is")
        return int(size)

    def _drop(self) -> None:
        if self._open is not None:
            handle, self._open = self._open[1], None
            handle.close()


def open_ranges(part: Place) -> Any:
    """A seekable handle on a file. Raises NoRanges where there can be none."""
    handle = part.fs.open(part.path, "rb", cache_type="none", block_size=_BLOCK)
    if not handle.seekable() or type(handle).__name__ == "HTTPStreamFile":
        handle.close()
        raise NoRanges(f"{part.url}: the server does not serve parts of a file")
    return handle


def _check_ranges(part: Place) -> None:
    """Ask for the second byte. Raises NoRanges where the server answers with another."""
    with open_ranges(part) as handle:
        handle.seek(1)
        try:
            handle.read(1)
        except ValueError as error:
            raise NoRanges(f"{part.url}: {error}") from error


def copy_whole(part: Place, target: Path, progress: Callable[[int], None] | None = None) -> None:
    """Fetch a file from beginning to end, again from the beginning where that breaks."""

    def once() -> None:
        with part.fs.open(part.path, "rb", block_size=0) as source, target.open("wb") as file:
            while block := source.read(1 << 20):
                file.write(block)
                if progress:
                    progress(len(block))
        size = part.fs.size(part.path)
        if size is not None and target.stat().st_size != size:
            raise EOFError(f"{part.url}: {target.stat().st_size} bytes came, of {size}")

    retrying()(once)


def with_ranges(parts: Sequence[Place], spool: Path) -> list[Place]:
    """The parts, each as a local copy in `spool` where its server does not serve ranges."""
    usable = []
    for number, part in enumerate(parts):
        try:
            retrying()(_check_ranges, part)
            usable.append(part)
        except NoRanges:
            _LOG.warning("%s can only be read from its beginning: it is copied first", part.url)
            target = spool / f"{number:04d}"
            copy_whole(part, target)
            usable.append(Place(fsspec.filesystem("file"), str(target), part.url))
    return usable


def _may_pass(error: BaseException) -> bool:
    """Whether to try again. fsspec says "not found" of an HTTP server in trouble, too."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, NETWORK_ERRORS):
        return getattr(error.__cause__, "status", None) not in _REFUSALS
    return isinstance(error, NETWORK_ERRORS) and not isinstance(error, _FINAL)


def _tell(state: RetryCallState) -> None:
    if state.attempt_number >= 3 and state.outcome is not None:
        _LOG.warning("reading again after: %s", _said(state.outcome.exception()))


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"
