"""Clips that already lie in a folder: found by file stem, used in place, never copied."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.clock import utc_now
from avstore.pipelines.fetch.source import FetchResult, MediaRequest, SourceError

#: Containers by extension; of two files with one stem the earlier extension is taken.
EXTENSIONS = (
    *("mp4", "webm", "mkv", "mov", "m4v", "avi", "flv", "3gp", "3g2", "ts", "m2ts"),
    *("mpg", "mpeg", "ogv", "wmv", "asf", "vob", "f4v", "mxf"),
)
_RANK = {f".{ext}": rank for rank, ext in enumerate(EXTENSIONS)}
_MAX_DEPTH = 16
_MAX_FILES = 20_000_000
TOOL = "folder"


@dataclass(frozen=True)
class FolderIndex:
    """Media files of a folder by stem; every list in order of preference.

    skipped: sub-folders not entered, each with the reason.
    """

    by_stem: dict[str, list[str]]
    skipped: list[str] = field(default_factory=list)


class FolderSource:
    """Every clip whose file is in `root` or below it. A file is never opened here."""

    rechecks = True
    tool = TOOL

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = index_folder(root)

    def fetch(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """One outcome a clip, in the order asked: stored, or gone where no file has its name."""
        for clip in wanted:
            yield self._find(clip)

    def strangers(self, wanted: Sequence[MediaRequest]) -> list[str]:
        """Media files that no clip of these is looked for in."""
        named = {name.stem for clip in wanted for name in clip.names}
        return [
            path
            for stem, found in self.index.by_stem.items()
            if stem not in named
            for path in found
        ]

    def _find(self, clip: MediaRequest) -> FetchResult:
        for name in clip.names:
            if paths := self.index.by_stem.get(name.stem):
                offset = (clip.start_s or 0.0) if name.whole_video else 0.0
                return self._found(clip, paths, offset)
        stems = " or ".join(f"{name.stem}.*" for name in clip.names)
        message = f"no {stems} in {self.root}"
        if self.index.skipped:
            message += f" (not entered: {'; '.join(self.index.skipped[:3])})"
        return _outcome(clip, Verdict.NOT_FOUND, message, None, 0.0)

    def _found(self, clip: MediaRequest, paths: list[str], offset: float) -> FetchResult:
        chosen = paths[0]
        if not os.access(chosen, os.R_OK):
            return _outcome(clip, Verdict.UNKNOWN, f"{chosen} may not be read", None, 0.0)
        message = ""
        if len(paths) > 1:
            message = f"{len(paths)} files have this name; took {chosen}, not {paths[1]}"
        return _outcome(clip, None, message, chosen, offset)


def index_folder(root: Path) -> FolderIndex:
    """All media files below `root`. Raises SourceError where that is no usable folder."""
    _check(root)
    found: dict[str, list[tuple[bool, int, str]]] = {}
    skipped: list[str] = []
    for entry in _media_files(root, skipped):
        stem, extension = os.path.splitext(entry.name)
        empty = entry.stat().st_size == 0
        found.setdefault(stem, []).append((empty, _RANK[extension.lower()], entry.path))
    if not found:
        raise SourceError(
            f"{root} holds no media file (looked for {', '.join(EXTENSIONS[:6])} …, also in its "
            "sub-folders); give the folder that the videos lie in"
        )
    return FolderIndex({s: [p for *_, p in sorted(c)] for s, c in found.items()}, skipped)


def has_media(root: Path) -> bool:
    """Whether there is a media file in `root` or below it."""
    _check(root)
    return next(_media_files(root, []), None) is not None


def _check(root: Path) -> None:
    if not root.exists():
        raise SourceError(f"the folder {root} does not exist; check SOURCE")
    if not root.is_dir():
        raise SourceError(f"{root} is a file, not a folder of videos or an archive of a known kind")
    if not os.access(root, os.R_OK | os.X_OK):
        raise SourceError(f"the folder {root} may not be read; check its permissions (chmod +rx)")


def _media_files(root: Path, skipped: list[str]) -> Iterator[os.DirEntry[str]]:
    """Media files below `root`, without entering linked folders; `skipped` is added to."""
    pending, count = [(str(root.absolute()), 0)], 0
    while pending:
        folder, depth = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(f"{folder}: {error.strerror}")
            continue
        for entry in entries:
            count += 1
            if count > _MAX_FILES:
                raise SourceError(
                    f"{root} holds more than {_MAX_FILES:,} entries; give a sub-folder"
                )
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < _MAX_DEPTH:
                    pending.append((entry.path, depth + 1))
                else:
                    skipped.append(f"{entry.path}: deeper than {_MAX_DEPTH} folders")
            elif entry.is_symlink() and entry.is_dir():
                skipped.append(f"{entry.path}: a link to a folder")
            elif os.path.splitext(entry.name)[1].lower() in _RANK and entry.is_file():
                yield entry


def _outcome(
    clip: MediaRequest, verdict: Verdict | None, message: str, path: str | None, offset_s: float
) -> FetchResult:
    gone = verdict is Verdict.NOT_FOUND
    return FetchResult(
        clip_id=clip.clip_id,
        status="stored" if path else "gone" if gone else "retryable",
        verdict=verdict,
        message=message,
        path=path,
        offset_s=offset_s,
        started_at=utc_now(),
        seconds=0.0,
        tool_version=TOOL,
        charged=False,
    )
