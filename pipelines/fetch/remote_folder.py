"""Fetch clips from a folder at any fsspec URL (s3://, http://, hf://, …) by file name."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import fsspec

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Attempt, Stopwatch, run_attempt, stored_result
from avstore.pipelines.fetch.attempt_pool import AttemptPool
from avstore.pipelines.fetch.containers import is_video
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.error_classification import (
    TOO_LARGE,
    AttemptError,
    classify,
    error_text,
)
from avstore.pipelines.fetch.file_matching import Assignment, FileMatcher, assign_files
from avstore.pipelines.fetch.guards import DiskGuard
from avstore.pipelines.fetch.rate_limit import RateLimiter, site_of, state_file
from avstore.pipelines.fetch.remote_files import (
    NETWORK_ERRORS,
    ConcatenatedFile,
    RangesUnsupportedError,
    RemoteFile,
    copy_whole,
    list_files,
)
from avstore.pipelines.fetch.source import (
    FetchOptions,
    FetchResult,
    MediaRequest,
    SourceError,
    missing_message,
)


class RemoteFolderSource:
    """Copy every clip whose file is in the folder or below it to the store.

    Args:
        folder: The folder; its files are listed at once.
        options: How to fetch.
        raw: The folder STORE/raw/<dataset>.

    Raises:
        SourceError: The folder cannot be listed, or holds no media.
    """

    rechecks = True

    def __init__(self, folder: RemoteFile, options: FetchOptions, raw: Path) -> None:
        self.folder = folder
        self.options = options
        self.downloads = DownloadDir(raw)
        self._root = folder.path.partition("?")[0].rstrip("/") + "/"
        self._paths = _media_files(list_files(folder), self._root)
        self._assigned = Assignment({}, [], {}, {})
        self.tool = f"fsspec {fsspec.__version__}"
        if not self._paths:
            raise SourceError(f"{folder.url} holds no media file and no archive; check the source")

    def files(self) -> Iterator[str]:
        """Yield the path of each media file, relative to the folder."""
        yield from self._paths

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield the result of each attempt.

        Raises:
            FetchStopped: A guard stopped the run.
        """
        self.downloads.prepare()
        matcher = FileMatcher(requests, self.options.names)
        self._assigned = assign_files(matcher, ((path, False) for path in self._paths))
        committed = self.downloads.committed()
        for request in requests:
            if file := committed.get(request.key):
                yield stored_result(request, file, "", self.tool, Stopwatch.start(), charged=False)
        pending = [request for request in requests if request.key not in committed]
        site = site_of(self.folder.url) or "folder"
        store_state = self.downloads.raw.parent.parent / "state"
        limiter = RateLimiter(
            state_file(site, self.options.rate_state, store_state),
            self.options.rate_per_hour or 0.0,
            wait_scale=self.options.wait_scale,
            max_pause_s=self.options.max_pause_s,
        )
        disk = DiskGuard(self.downloads.raw, self.options.min_free_bytes)
        yield from AttemptPool(self._attempt, limiter, self.options, disk).run(pending)

    def _attempt(self, request: MediaRequest) -> Attempt:
        return run_attempt(request, self._download, self.tool, self.options.wait_scale)

    def _download(self, request: MediaRequest) -> tuple[DownloadedFile, str]:
        if found := self._assigned.clips.get(request.clip_id):
            path = self._paths[found.path]
            return self._copy(request, path, found.match.whole), path
        message = missing_message(request, self.folder.url, self.options.names)
        message += self._assigned.missing_note(request)
        raise AttemptError(Verdict.NOT_IN_SOURCE, message)

    def _copy(self, request: MediaRequest, path: str, whole: bool) -> DownloadedFile:
        folder = self.downloads.scratch(request.key)
        temp = folder / f"media{PurePosixPath(path).suffix.lower()}"
        try:
            self._read(RemoteFile(self.folder.fs, path, path), temp)
            return self.downloads.commit(request.key, temp, whole)
        except NETWORK_ERRORS as error:
            text = f"{path}: {error_text(error)}"
            verdict = (
                Verdict.NOT_IN_SOURCE if isinstance(error, FileNotFoundError) else classify(text)
            )
            raise AttemptError(verdict, text) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self, file: RemoteFile, temp: Path) -> None:
        deadline = time.monotonic() + self.options.timeout_s

        def check(received: int) -> None:
            if received > self.options.max_bytes:
                raise AttemptError(
                    Verdict.UNDECODABLE, f"{TOO_LARGE}={self.options.max_bytes}: {file.url}"
                )
            if time.monotonic() > deadline:
                raise AttemptError(
                    Verdict.TIMEOUT,
                    f"not finished after timeout_s ({self.options.timeout_s:g} s): {file.url}",
                )

        try:
            with (
                ConcatenatedFile([file], self.options.wait_scale) as source,
                temp.open("wb") as target,
            ):
                check(source.size)
                while block := source.read(1 << 20):
                    target.write(block)
                    check(target.tell())
        except RangesUnsupportedError:
            copy_whole(file, temp, check)


def _media_files(paths: Sequence[str], root: str) -> dict[str, str]:
    """Return the media files below a folder by their path relative to it."""
    found = {}
    for path in paths:
        name = PurePosixPath(path).name
        if is_video(name) and not name.startswith("."):
            found[path.removeprefix(root)] = path
    return found
