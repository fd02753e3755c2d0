"""Clips in a folder at any fsspec address (s3://, http://, hf://, …): found by stem, copied."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import fsspec

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Started, Tried, attempt, stored
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.fleet import Fleet
from avstore.pipelines.fetch.folder import EXTENSIONS
from avstore.pipelines.fetch.guards import DiskWatch
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.rate_limit import Gate
from avstore.pipelines.fetch.remote_files import (
    NETWORK_ERRORS,
    NoRanges,
    PartedFile,
    Place,
    copy_whole,
    list_files,
)
from avstore.pipelines.fetch.source import FetchResult, MediaRequest, SourceError
from avstore.pipelines.fetch.taxonomy import AttemptError, classify

_RANK = {f".{extension}": rank for rank, extension in enumerate(EXTENSIONS)}


class RemoteFolderSource:
    """Every clip whose file is in the folder or below it; files are committed to `raw`."""

    rechecks = True

    def __init__(self, folder: Place, options: FetchOptions, raw: Path) -> None:
        self.folder = folder
        self.options = options
        self.landing = DownloadDir(raw)
        self.by_stem = _index(list_files(folder))
        self.tool = f"fsspec {fsspec.__version__}"
        if not self.by_stem:
            raise SourceError(f"{folder.url} holds no media file and no archive; check SOURCE")

    def fetch(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """One outcome an attempt. Raises FetchStopped before the disk is full."""
        self.landing.prepare()
        landed = self.landing.landed()
        for clip in wanted:
            if file := landed.get(clip.key):
                yield stored(clip, file, "", self.tool, Started.now(), charged=False)
        pending = [clip for clip in wanted if clip.key not in landed]
        host = str(self.folder.fs.protocol if isinstance(self.folder.fs.protocol, str)
                   else self.folder.fs.protocol[0])  # fmt: skip
        state = self.landing.raw.parent.parent / "state" / f"fetch-{host}.json"
        gate = Gate(state, self.options.rate_per_hour or 0.0, wait_scale=self.options.wait_scale)
        disk = DiskWatch(self.landing.raw, self.options.min_free_bytes)
        yield from Fleet(self._try, gate, self.options, disk).run(pending)

    def _try(self, clip: MediaRequest) -> Tried:
        return attempt(clip, self._get, self.tool, self.options.wait_scale)

    def _get(self, clip: MediaRequest) -> tuple[DownloadedFile, str]:
        for name in clip.names:
            if path := self.by_stem.get(name.stem):
                return self._copy(clip, path, name.whole_video), path
        stems = " or ".join(f"{name.stem}.*" for name in clip.names)
        raise AttemptError(Verdict.NOT_FOUND, f"no {stems} in {self.folder.url}")

    def _copy(self, clip: MediaRequest, path: str, whole: bool) -> DownloadedFile:
        folder = self.landing.scratch(clip.key)
        temp = folder / f"media{PurePosixPath(path).suffix.lower()}"
        try:
            self._read(Place(self.folder.fs, path, path), temp)
            return self.landing.land(clip.key, temp, whole)
        except NETWORK_ERRORS as error:
            text = f"{path}: {type(error).__name__}: {error}"
            verdict = Verdict.NOT_FOUND if isinstance(error, FileNotFoundError) else classify(text)
            raise AttemptError(verdict, text) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self, remote: Place, temp: Path) -> None:
        try:
            with PartedFile([remote], self.options.wait_scale) as source, temp.open("wb") as file:
                if source.size > self.options.max_bytes:
                    text = f"{remote.url} has {source.size} bytes, more than max_bytes allows"
                    raise AttemptError(Verdict.UNDECODABLE, text)
                shutil.copyfileobj(source, file, 1 << 20)
        except NoRanges:
            copy_whole(remote, temp)


def _index(paths: Sequence[str]) -> dict[str, str]:
    """Media files by stem; of several with one stem the earlier extension, then path."""
    index: dict[str, str] = {}
    for path in sorted(
        paths, key=lambda path: (_RANK.get(PurePosixPath(path).suffix.lower(), 0), path)
    ):
        name = PurePosixPath(path)
        if name.suffix.lower() in _RANK and not name.name.startswith("."):
            index.setdefault(name.stem, path)
    return index
