"""Read files at any fsspec URL by range requests and retry each block that fails."""

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

from avstore.manifests import commands
from avstore.manifests.redact import redact
from avstore.pipelines.fetch.error_classification import error_text
from avstore.pipelines.fetch.sized_reader import SizedReader
from avstore.pipelines.fetch.source import SourceError

_LOG = logging.getLogger(__name__)
_BLOCK_BYTES = 4 << 20
_MAX_TRIES = 7
_READ_TIMEOUT_S = 60.0
#: Exceptions that reading over a network may raise (fsspec's own timeouts are OSErrors).
NETWORK_ERRORS = (OSError, aiohttp.ClientError, EOFError)


class RangesUnsupportedError(OSError):
    """The server serves a file only from its beginning."""


_REFUSED_STATUSES = (401, 403, 404, 410, 451)
_FINAL_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, RangesUnsupportedError)


@dataclass(frozen=True)
class RemoteFile:
    """A file or folder of an fsspec file system, which may be the local one.

    Attributes:
        fs: The file system.
        path: The path in the file system.
        url: The URL or local path for messages, without credentials.
    """

    fs: Any
    path: str
    url: str

    def __post_init__(self) -> None:
        """Hide the credentials of the URL."""
        object.__setattr__(self, "url", redact(self.url))

    @property
    def query(self) -> str:
        """The query of an http(s) URL with its '?', as of a presigned address, or ''."""
        path, mark, query = self.path.partition("?")
        return mark + query if path.startswith(("http://", "https://")) else ""

    @property
    def name(self) -> str:
        """The last part of the path, without the query."""
        return self.path.removesuffix(self.query).rstrip("/").rsplit("/", 1)[-1]


def open_location(url: str, storage: Mapping[str, Mapping[str, Any]]) -> RemoteFile:
    """Return the file or folder at a URL or local path, without checking that it exists.

    Args:
        url: The URL or path.
        storage: fsspec's keyword arguments by protocol.

    Raises:
        SourceError: The protocol is unknown or its package is not installed.
    """
    protocol = urlsplit(url).scheme if "://" in url else "file"
    options = dict(storage.get(protocol, {}))
    if protocol in ("http", "https"):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=_READ_TIMEOUT_S)
        options.setdefault("client_kwargs", {}).setdefault("timeout", timeout)
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        advice = f"; to install it, run {commands.pip('s3')}" if protocol in {"s3", "s3a"} else ""
        raise SourceError(
            f"{url}: {protocol}:// needs a package that is not installed ({error}){advice}"
        ) from error
    except ValueError as error:
        raise SourceError(f"{url} cannot be opened: {error}; check the source") from error
    return RemoteFile(fs, path, url)


def list_files(folder: RemoteFile) -> list[str]:
    """Return the paths of all files below a folder, sorted.

    Raises:
        SourceError: The folder does not exist or cannot be listed.
    """
    try:
        paths = sorted(str(path) for path in retrying()(folder.fs.find, folder.path))
        if not paths and not exists(folder):  # some file systems list a missing folder as empty
            raise SourceError(f"{folder.url} does not exist or cannot be reached; check the source")
        return paths
    except FileNotFoundError as error:
        raise SourceError(f"{folder.url} does not exist; check the source") from error
    except NETWORK_ERRORS as error:
        raise SourceError(f"{folder.url} cannot be listed: {error_text(error)}") from error


def exists(file: RemoteFile) -> bool:
    """Return whether a file exists; network errors are retried.

    Raises:
        OSError: The server still fails after the last try.
    """
    try:
        retrying()(file.fs.info, file.path)
    except FileNotFoundError:
        return False
    return True


def retrying(wait_scale: float = 1.0) -> Retrying:
    """Return a tenacity retrier for network errors, with growing waits of some minutes in all."""
    return Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(_MAX_TRIES),
        wait=wait_random_exponential(multiplier=0.5 * wait_scale, max=60.0),
        before_sleep=_log_retry,
        reraise=True,
    )


class ConcatenatedFile(SizedReader):
    """Several files (the parts of a split archive, or just one) as one seekable stream.

    Bytes are read in blocks by range requests, and a block that fails is requested again. Reading
    raises OSError or EOFError when a block still fails after the last try, or a file's length has
    changed.

    Args:
        parts: The files in order.
        wait_scale: Factor on the waits between tries.
    """

    def __init__(self, parts: Sequence[RemoteFile], wait_scale: float = 1.0) -> None:
        super().__init__()
        self.parts = list(parts)
        self.retry = retrying(wait_scale)
        self.sizes = [self._part_size(part) for part in self.parts]
        self.size = sum(self.sizes)
        self._open: tuple[int, Any] | None = None
        self._block = (0, b"")

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer` from one block and return the number of bytes, 0 at the end."""
        start, data = self._block
        if not start <= self._position < start + len(data):
            start, data = self._block = self._position, self._fetch_block(self._position)
        offset = self._position - start
        count = min(len(buffer), len(data) - offset)
        buffer[:count] = data[offset : offset + count]
        self._position += count
        return count

    def close(self) -> None:
        """Close the open part."""
        self._close_part()
        super().close()

    def _fetch_block(self, position: int) -> bytes:
        """Return the block at `position`, within one part; b'' at the end."""
        for number, size in enumerate(self.sizes):
            if position < size:
                length = min(_BLOCK_BYTES, size - position)
                return bytes(self.retry.copy()(self._read_part, number, position, length))
            position -= size
        return b""

    def _read_part(self, number: int, position: int, length: int) -> bytes:
        try:
            if self._open is None or self._open[0] != number:
                self._close_part()
                self._open = number, open_ranges(self.parts[number])
            handle = self._open[1]
            handle.seek(position)
            data: bytes = handle.read(length)
        except BaseException:
            self._close_part()
            raise
        if len(data) != length:
            self._close_part()
            raise EOFError(
                f"{self.parts[number].url}: received {len(data)} bytes at {position}, expected "
                f"{length}"
            )
        return data

    def _part_size(self, part: RemoteFile) -> int:
        size = self.retry.copy()(part.fs.size, part.path)
        if size is None:
            raise OSError(f"{part.url}: the server does not report the file's size")
        return int(size)

    def _close_part(self) -> None:
        if self._open is not None:
            handle, self._open = self._open[1], None
            handle.close()


def open_ranges(file: RemoteFile) -> Any:
    """Return a seekable handle on a file.

    Raises:
        RangesUnsupportedError: The server does not serve ranges.
    """
    handle = file.fs.open(file.path, "rb", cache_type="none", block_size=_BLOCK_BYTES)
    if not handle.seekable() or type(handle).__name__ == "HTTPStreamFile":
        handle.close()
        raise RangesUnsupportedError(f"{file.url}: the server does not support range requests")
    return handle


def copy_whole(file: RemoteFile, target: Path, check: Callable[[int], None]) -> None:
    """Download a file in one request; start again from the beginning when it breaks.

    Args:
        file: The file.
        target: The local file to write.
        check: Called with the bytes received so far; may raise.
    """

    def copy_once() -> None:
        with file.fs.open(file.path, "rb", block_size=0) as source, target.open("wb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
                check(copy.tell())
        size = file.fs.size(file.path)
        received = target.stat().st_size
        if size is not None and received != size:
            raise EOFError(f"{file.url}: received {received} bytes, expected {size}")

    retrying()(copy_once)


def with_ranges(
    parts: Sequence[RemoteFile], spool: Path, check: Callable[[int], None]
) -> list[RemoteFile]:
    """Return the parts; those whose server does not serve ranges as local copies in `spool`.

    Args:
        parts: The files.
        spool: The folder for copies.
        check: As for `copy_whole`.
    """
    usable = []
    for number, part in enumerate(parts):
        try:
            retrying()(_check_ranges, part)
            usable.append(part)
        except RangesUnsupportedError:
            _LOG.warning("%s: the server does not support range requests; copying it", part.url)
            target = spool / f"{number:04d}"
            copy_whole(part, target, check)
            usable.append(RemoteFile(fsspec.filesystem("file"), str(target), part.url))
    return usable


def _check_ranges(file: RemoteFile) -> None:
    """Request the second byte: a server that ignores ranges answers with the whole file."""
    with open_ranges(file) as handle:
        handle.seek(1)
        try:
            handle.read(1)
        except ValueError as error:
            raise RangesUnsupportedError(f"{file.url}: {error}") from error


def _is_transient(error: BaseException) -> bool:
    """Return whether to retry. fsspec's HTTP raises FileNotFoundError for server errors too."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, NETWORK_ERRORS):
        return getattr(error.__cause__, "status", None) not in _REFUSED_STATUSES
    return isinstance(error, NETWORK_ERRORS) and not isinstance(error, _FINAL_ERRORS)


def _log_retry(state: RetryCallState) -> None:
    # The first two tries often fail for a moment only; they are not worth a line.
    if state.attempt_number >= 3 and state.outcome is not None:
        _LOG.warning("retrying a read after %s", error_text(state.outcome.exception()))
