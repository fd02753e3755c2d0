"""Find clips in a local folder by file name; files are used in place and never copied."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Stopwatch, failed_result, stored_result
from avstore.pipelines.fetch.containers import EXTENSIONS, extension_rank, is_sound, is_video
from avstore.pipelines.fetch.download_dir import DownloadedFile
from avstore.pipelines.fetch.error_classification import AttemptError
from avstore.pipelines.fetch.file_matching import (
    Assignment,
    ClipFile,
    FileMatcher,
    assign_files,
)
from avstore.pipelines.fetch.source import (
    FetchResult,
    MediaRequest,
    SourceError,
    missing_message,
)

_MAX_DEPTH = 16
_MAX_FILES = 20_000_000
_NAMED = 3


@dataclass(frozen=True)
class FolderIndex:
    """The media files of a folder.

    Attributes:
        files: (path relative to the folder, whether the file is empty) of each media file.
        skipped: (path, reason) of each sub-folder and media file that cannot be used.
        sounds: The same of files of sound alone beside them, which are none of `files`.
    """

    files: list[tuple[str, bool]]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    sounds: list[tuple[str, bool]] = field(default_factory=list)


class FolderSource:
    """Every clip whose file is in `root` or below it; the files are not opened.

    Args:
        root: The folder.
        names: A pattern of file names; None finds the usual forms.
    """

    rechecks = True
    tool = "folder"

    def __init__(self, root: Path, names: str | None = None) -> None:
        self.root = root.absolute()
        self.names = names
        self.index = index_folder(root)
        self._assigned: tuple[Sequence[MediaRequest], Assignment] | None = None

    def files(self) -> Iterator[str]:
        """Yield the path of each media file, relative to the folder."""
        return (path for path, _ in self.index.files)

    def skipped(self) -> Iterator[str]:
        """Yield each sub-folder and media file that cannot be used, with the reason."""
        return (f"{path}: {reason}" for path, reason in self.index.skipped)

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield one result per clip in the given order: stored, or absent where it has no file."""
        assigned = self._assign(requests)
        for request in requests:
            if found := assigned.clips.get(request.clip_id):
                yield self._result(request, found)
                continue
            message = missing_message(request, str(self.root), self.names)
            message += assigned.missing_note(request)
            if self.index.skipped:
                message += f" (not searched: {_listed(self.index.skipped)})"
            yield self._failed(request, Verdict.NOT_IN_SOURCE, message)

    def unmatched_files(self, requests: Sequence[MediaRequest]) -> list[str]:
        """Return the media files that belong to none of these clips."""
        assigned = self._assign(requests)
        unused = [*assigned.ambiguous, *assigned.unmatched]
        return [str(self.root / path) for path in unused]

    def _assign(self, requests: Sequence[MediaRequest]) -> Assignment:
        if self._assigned is None or self._assigned[0] is not requests:
            matcher = FileMatcher(requests, self.names)
            self._assigned = requests, assign_files(matcher, self.index.files)
        return self._assigned[1]

    def _result(self, request: MediaRequest, found: ClipFile) -> FetchResult:
        path = self.root / found.path
        if not os.access(path, os.R_OK):
            message = f"{path} is not readable; check its permissions (chmod +r)"
            return self._failed(request, Verdict.UNKNOWN, message)
        note = ""
        if found.spares:
            other = self.root / found.spares[0]
            note = f"{1 + len(found.spares)} files match this clip; used {path}, not {other}"
        file = DownloadedFile(path, found.match.whole)
        return stored_result(request, file, note, self.tool, Stopwatch.start(), charged=False)

    def _failed(self, request: MediaRequest, verdict: Verdict, message: str) -> FetchResult:
        failure = AttemptError(verdict, message)
        return failed_result(request, failure, self.tool, Stopwatch.start(), charged=False)


def index_folder(root: Path) -> FolderIndex:
    """Return all media files below `root`; those of sound alone only if there are no others.

    Raises:
        SourceError: `root` is not a readable folder, or holds no media file.
    """
    _check(root)
    start = len(str(root.absolute()).rstrip("/")) + 1
    skipped: list[tuple[str, str]] = []
    found = [
        (path[start:].replace(os.sep, "/"), size == 0) for path, size in _media_files(root, skipped)
    ]
    sounds = [entry for entry in found if is_sound(entry[0])]
    files = [entry for entry in found if is_video(entry[0])]
    if not found:
        raise SourceError(
            f"{root} holds no media file (searched it and its sub-folders for "
            f"{', '.join(EXTENSIONS[:6])} …"
            + (f"; not searched: {_listed(skipped)}" if skipped else "")
            + "); give the folder of the videos as source"
        )
    return FolderIndex(files, skipped, sounds) if files else FolderIndex(sounds, skipped)


def _listed(skipped: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{path}: {reason}" for path, reason in skipped[:_NAMED])


def has_video(root: Path) -> bool:
    """Return whether there is a file in `root` or below it that may hold pictures.

    Raises:
        SourceError: `root` is not a readable folder.
    """
    _check(root)
    return any(is_video(path) for path, _ in _media_files(root, []))


def _check(root: Path) -> None:
    if not root.exists():
        raise SourceError(f"the folder {root} does not exist; check the source")
    if not root.is_dir():
        raise SourceError(
            f"{root} is a file but no archive of a known kind; give a folder of videos or an "
            "archive (zip, tar, tar.gz, tar.bz2, tar.xz) as source"
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise SourceError(f"the folder {root} is not readable; check its permissions (chmod +rx)")


def _media_files(root: Path, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Yield the path and size of each media file below `root`.

    What cannot be read (no permission, a link in a circle, a file that vanished) is appended to
    `skipped` and costs nothing else.
    """
    pending, count = [(str(root.absolute()), 0)], 0
    while pending:
        folder, depth = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append((folder, error.strerror or str(error)))
            continue
        count += len(entries)
        if count > _MAX_FILES:
            raise SourceError(
                f"{root} holds more than {_MAX_FILES:,} entries; give a sub-folder as source"
            )
        for entry in entries:
            if entry.name.startswith("."):
                continue
            media = extension_rank(entry.name) is not None
            if not media and entry.is_file(follow_symlinks=False):
                continue  # known without a system call
            try:
                kind = entry.stat()  # of what a link leads to
            except OSError as error:
                if media:
                    skipped.append((entry.path, error.strerror or str(error)))
                continue
            if stat.S_ISREG(kind.st_mode) and media:
                yield entry.path, kind.st_size
            elif stat.S_ISDIR(kind.st_mode):
                if reason := _unsearched(entry, depth):
                    skipped.append((entry.path, reason))
                else:
                    pending.append((entry.path, depth + 1))


def _unsearched(entry: os.DirEntry[str], depth: int) -> str | None:
    """Return why a folder is not searched, or None."""
    if entry.is_symlink():
        return "a link to a folder"  # it may lead out of the folder or back into it
    return f"more than {_MAX_DEPTH} levels deep" if depth >= _MAX_DEPTH else None
