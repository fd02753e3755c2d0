"""List and read the arrays of a folder or an archive, local or at an address, without unpacking."""

import io
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from avstore.manifests.path_text import path_text
from avstore.pipelines.fetch.archive_members import (
    DAMAGE_ERRORS,
    ArchiveMember,
    BombError,
    detect_archive,
    iter_members,
)
from avstore.pipelines.fetch.archive_parts import (
    Archive,
    find_parts,
    group_archives,
    is_archive_name,
)
from avstore.pipelines.fetch.error_classification import error_text
from avstore.pipelines.fetch.guards import DiskGuard
from avstore.pipelines.fetch.remote_files import (
    NETWORK_ERRORS,
    ConcatenatedFile,
    RemoteFile,
    open_location,
    with_ranges,
)
from avstore.pipelines.fetch.source import MachineError, SourceError
from avstore.pipelines.interchange.feature_values import (
    ARRAY_SUFFIXES,
    MAX_VALUE_BYTES,
    BadValueError,
)
from avstore.pipelines.interchange.hashed_file import HashedFile

_MIN_FREE_BYTES = 1 << 30
_BATCH_BYTES = 2 << 20
_THREADS = 2  # unpacking and checking release the interpreter's lock


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ArrayFile:
    """A file of a source, which may hold an array.

    Attributes:
        path: Its path in the source, with forward slashes.
        size: Its size in bytes.
        crc32: Of its content, if the archive states it.
        read: Returns its content; BadValueError if it cannot be read.
        whole: Whether it is a folder, whose files `read` makes one array of.
        gaps: What such a folder lacks, though it can be read.
    """

    path: str
    size: int
    crc32: int | None
    read: Callable[[], bytes]
    whole: bool = False
    gaps: str | None = None

    @property
    def folder(self) -> str:
        """The path of its folder."""
        return self.path.rpartition("/")[0]

    @property
    def is_array(self) -> bool:
        """Whether its name is that of an array."""
        return self.whole or self.path.lower().endswith(ARRAY_SUFFIXES)

    @property
    def array_path(self) -> str:
        """Its path, with the suffix that a folder lacks."""
        return f"{self.path}{ARRAY_SUFFIXES[0]}" if self.whole else self.path


@dataclass(frozen=True)
class ArraySource:
    """A folder or an archive.

    Attributes:
        place: Its path, or its address without credentials.
        folder: The folder; None for an archive.
        archive: The archive; None for a folder.
        scratch: Where an archive is copied whose server serves no ranges.
        suffixes: Suffixes of the files to read of a folder.
    """

    place: str
    folder: Path | None = None
    archive: Archive | None = None
    scratch: Path = Path()
    suffixes: tuple[str, ...] = ARRAY_SUFFIXES

    @property
    def name(self) -> str:
        """Its file name."""
        return path_text(self.place.partition("?")[0].rstrip("/").rsplit("/", 1)[-1])

    @property
    def within(self) -> str:
        """Name of what holds the folders of its files: a folder's parent, or the archive itself."""
        if self.folder is not None:
            return self.folder.absolute().parent.name
        return self.name.partition(".")[0]

    @contextmanager
    def open(self) -> "Iterator[OpenArrays]":
        """Open the source for one pass over its files.

        Raises:
            SourceError: It cannot be read.
        """
        if self.folder is not None:
            files = _folder_files(self.folder, self.suffixes)
            yield OpenArrays(files, None, None, _THREADS)
            return
        if self.archive is None:
            raise SourceError(f"{self.place} is neither a folder nor an archive")
        with _reading(self.place), _open_archive(self.archive, self.scratch) as file:
            files, threads = _archive_files(file, self.place)
            yield OpenArrays(files, file.size, file, threads if file.is_local else 0)


class OpenArrays:
    """An open source.

    Attributes:
        files: Its files, to be read in order.
        bytes: Size of the archive; None for a folder.
        threads: Threads that may read files at the same time; with 0, each is read before the next
            is requested.
    """

    def __init__(
        self, files: Iterator[ArrayFile], size: int | None, hashed: HashedFile | None, threads: int
    ) -> None:
        self.files = files
        self.bytes = size
        self.threads = threads
        self._hashed = hashed

    def sha256(self) -> str | None:
        """Return the archive's sha256 after the pass; None for a folder, or if parts were skipped.

        A local archive is always hashed as a whole; one at an address is not read again for it.
        """
        return self._hashed.finish() if self._hashed else None


def map_in_order(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int, size: Callable[[Item], int]
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of `work`, in order.

    Args:
        items: The items.
        work: Called once for each item.
        threads: Threads that work ahead; with 0, `work` is done before the next item is requested.
        size: Returns the bytes of an item. A thread takes several small ones at once, as waking it
            for each would cost more than the work.
    """
    if not threads:
        yield from ((item, work(item)) for item in items)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[list[Item], Future[list[Result]]]] = deque()
        for batch in _batches(items, size):
            waiting.append((batch, pool.submit(_work_all, work, batch)))
            if len(waiting) > 2 * threads:
                yield from _results(*waiting.popleft())
        while waiting:
            yield from _results(*waiting.popleft())


def _work_all(work: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [work(item) for item in batch]


def _results(batch: list[Item], done: Future[list[Result]]) -> Iterator[tuple[Item, Result]]:
    return zip(batch, done.result(), strict=True)


def _batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield the items in batches of at least `_BATCH_BYTES`."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= _BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def open_sources(
    text: str, scratch: Path, suffixes: tuple[str, ...] = ARRAY_SUFFIXES
) -> list[ArraySource]:
    """Return the folder or archives that a SOURCE names.

    Args:
        text: A folder of arrays or of archives, an archive, a part of one, or an address of one.
        scratch: Where an archive is copied whose server serves no ranges.
        suffixes: Suffixes of the files to read.

    Raises:
        SourceError: There is no such source, or it has neither such files nor archives.
    """
    remote = "://" in text
    path = Path(text).expanduser().absolute()
    if not remote and path.is_dir():
        if any(_files_in(path, suffixes)):
            return [ArraySource(str(path), folder=path, suffixes=suffixes)]
        files = [open_location(str(file), {}) for file in sorted(path.iterdir()) if file.is_file()]
        archives = group_archives([file for file in files if is_archive_name(file.name)])
        if not archives:
            raise SourceError(
                f"{path} has neither {', '.join(suffixes)} nor archives; check the source"
            )
    else:
        if not remote and not path.is_file():
            raise SourceError(f"there is no folder or archive {path}; check the source")
        location = open_location(text if remote else str(path), {})
        parts = find_parts(location) if is_archive_name(location.name) else [location]
        archives = group_archives(parts) or [Archive(location.url, (location,))]
    return [ArraySource(each.label, archive=each, scratch=scratch) for each in archives]


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Report errors of the archive as a whole."""
    try:
        yield
    except BombError as error:
        raise SourceError(f"{place} is refused: {error}") from error
    except DAMAGE_ERRORS as error:
        raise SourceError(
            f"{place} is damaged or incomplete: {error_text(error)}; fetch it again"
        ) from error


@contextmanager
def _open_archive(archive: Archive, scratch: Path) -> Iterator[HashedFile]:
    """Open an archive; one whose server serves no ranges is copied to `scratch` first."""
    local = [_local_path(part) for part in archive.parts]
    try:
        if len(local) == 1 and local[0] is not None:
            raw: Any = io.FileIO(local[0])
            size, is_local = os.fstat(raw.fileno()).st_size, True
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            disk = DiskGuard(scratch, _MIN_FREE_BYTES)
            raw = ConcatenatedFile(with_ranges(archive.parts, scratch, lambda _: disk.check()))
            size, is_local = raw.size, None not in local
        file = HashedFile(raw, size, is_local)
        try:
            yield file
        finally:
            file.release()
    except NETWORK_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise SourceError(f"there is no {archive.label}; check the source") from error
        raise MachineError(f"{archive.label} cannot be read: {error_text(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _local_path(part: RemoteFile) -> Path | None:
    protocol = part.fs.protocol
    names = (protocol,) if isinstance(protocol, str) else tuple(protocol)
    return Path(part.path) if "file" in names else None


def _archive_files(file: HashedFile, place: str) -> tuple[Iterator[ArrayFile], int]:
    """Return the files of an archive, and how many threads may read them."""
    head = file.read(512) or b""
    file.seek(0)
    members = iter_members(file, place)
    is_zip = detect_archive(head) == "zip"
    if is_zip:  # its directory, at the end, is read with the first member
        first = next(members, None)
        members = chain([first] if first else [], members)
    file.start()
    files = (ArrayFile(each.path, each.size, each.crc32, _reader(each)) for each in members)
    return files, _THREADS if is_zip else 0


def _reader(member: ArchiveMember) -> Callable[[], bytes]:
    def read() -> bytes:
        if member.refused or member.size > MAX_VALUE_BYTES:
            why = member.refused or f"{member.size} bytes, more than {MAX_VALUE_BYTES}"
            raise BadValueError("refused", why)
        try:
            content = member.read()
        except DAMAGE_ERRORS as error:
            raise BadValueError("damaged", error_text(error)) from error
        if len(content) != member.size:
            raise BadValueError("truncated", f"{len(content)} of {member.size} bytes")
        return content

    return read


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, x) for x in sorted(names) if x.lower().endswith(suffixes))


def _folder_files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[ArrayFile]:
    for path in _files_in(folder, suffixes):
        relative = path.relative_to(folder).as_posix()
        try:
            size = path.stat().st_size
        except OSError:
            size = 0  # a broken link: reading it says so
        yield ArrayFile(f"{folder.name}/{relative}", size, None, _file_reader(path, size))


def _file_reader(path: Path, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        if not path.is_file():
            raise BadValueError("refused", "it is not a regular file")
        if size > MAX_VALUE_BYTES:
            raise BadValueError("refused", f"{size} bytes, more than {MAX_VALUE_BYTES}")
        try:
            return path.read_bytes()
        except PermissionError as error:
            raise BadValueError("refused", error_text(error)) from error

    return read
