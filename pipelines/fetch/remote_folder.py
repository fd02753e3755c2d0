"""Fetch clips from a folder at any fsspec URL (s3://, http://, hf://, …) by file stem."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import fsspec

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Attempt, Stopwatch, run_attempt, stored_result
from avstore.pipelines.fetch.attempt_pool import AttemptPool
from avstore.pipelines.fetch.containers import extension_rank
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.error_classification import (
    TOO_LARGE,
    AttemptError,
    classify,
    error_text,
)
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
        self.by_stem = _index(list_files(folder))
        self.tool = f"fsspec {fsspec.__version__}"
        if not self.by_stem:
            raise SourceError(f"{folder.url} holds no media file and no archive; check SOURCE")

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield the result of each attempt.

        Raises:
            FetchStopped: A guard stopped the run.
        """
        self.downloads.prepare()
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
        for name in request.names:
            if path := self.by_stem.get(name.stem):
                return self._copy(request, path, name.whole_video), path
        raise AttemptError(Verdict.NOT_FOUND, missing_message(request, self.folder.url))

    def _copy(self, request: MediaRequest, path: str, whole: bool) -> DownloadedFile:
        folder = self.downloads.scratch(request.key)
        temp = folder / f"media{PurePosixPath(path).suffix.lower()}"
        try:
            self._read(RemoteFile(self.folder.fs, path, path), temp)
            return self.downloads.commit(request.key, temp, whole)
        except NETWORK_ERRORS as error:
            text = f"{path}: {error_text(error)}"
            verdict = Verdict.NOT_FOUND if isinstance(error, FileNotFoundError) else classify(text)
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


def _index(paths: Sequence[str]) -> dict[str, str]:
    """Return media files by stem; of several the first by extension, then by path."""
    ranked = []
    for path in paths:
        name = PurePosixPath(path).name
        rank = extension_rank(name)
        if rank is not None and not name.startswith("."):
            ranked.append((rank, path))
    index: dict[str, str] = {}
    for _, path in sorted(ranked):
        index.setdefault(PurePosixPath(path).stem, path)
    return index
