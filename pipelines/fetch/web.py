"""Fetch clips from YouTube or from their own URLs through yt-dlp."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Attempt, Stopwatch, run_attempt, stored_result
from avstore.pipelines.fetch.attempt_pool import AttemptPool
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.error_classification import AttemptError
from avstore.pipelines.fetch.guards import DiskGuard
from avstore.pipelines.fetch.preflight import check_web, raise_or_warn
from avstore.pipelines.fetch.rate_limit import RateLimiter, site_of, state_file
from avstore.pipelines.fetch.source import FetchOptions, FetchResult, MediaRequest
from avstore.pipelines.fetch.ytdlp import DownloadJob, YtDlpPool

_PREFLIGHT_CLIPS = 50


@dataclass(frozen=True)
class WebSite:
    """A web site that clips come from.

    Attributes:
        name: The name that the user gives as SOURCE.
        url: Returns the URL of a clip's video; raises AttemptError where there is none.
        rate_per_hour: The default rate limit; 0 sets none.
    """

    name: str
    url: Callable[[MediaRequest], str]
    rate_per_hour: float


def youtube_url(request: MediaRequest) -> str:
    """Return the URL of a clip's YouTube video."""
    return f"https://www.youtube.com/watch?v={request.source_id}"


def published_url(request: MediaRequest) -> str:
    """Return the URL that the dataset publishes for a clip.

    Raises:
        AttemptError: There is none, or it is not an http(s) URL.
    """
    if not request.url:
        raise AttemptError(Verdict.NOT_IN_SOURCE, "the dataset publishes no URL for this clip")
    if not request.url.startswith(("http://", "https://")):
        raise AttemptError(Verdict.NOT_IN_SOURCE, f"{request.url!r} is not an http(s) URL")
    return request.url


#: YouTube allows guests about 300 videos per hour; the default stays below that.
YOUTUBE = WebSite("youtube", youtube_url, 280.0)
URLS = WebSite("urls", published_url, 0.0)


class WebSource:
    """Fetch only the clip's seconds of each video, both streams in one run of yt-dlp.

    The rate limiter's state is one for all stores and datasets: a site counts the requests of this
    machine, whatever they are for.

    Args:
        site: The web site.
        options: How to fetch.
        raw: The folder STORE/raw/<dataset>.
    """

    rechecks = False

    def __init__(self, site: WebSite, options: FetchOptions, raw: Path) -> None:
        self.site = site
        self.options = options
        self.downloads = DownloadDir(raw)
        self.store_state = raw.parent.parent / "state"
        self.tool = f"{site.name} by yt-dlp {version('yt-dlp')}"

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield the result of each attempt; a clip may have several.

        Raises:
            SourceError: A preflight check failed.
            FetchStopped: A guard stopped the run.
        """
        self.downloads.prepare()
        committed = self.downloads.committed()
        for request in requests:
            if file := committed.get(request.key):
                note = "fetched by an earlier run that ended before recording it"
                yield stored_result(
                    request, file, note, self.tool, Stopwatch.start(), charged=False
                )
        pending = [request for request in requests if request.key not in committed]
        if pending:
            yield from self._download_all(pending)

    def _download_all(self, pending: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        urls = self._urls(pending[:_PREFLIGHT_CLIPS])
        raise_or_warn(check_web(urls, len(pending), self.downloads.raw, self.options))
        rate = self.options.rate_per_hour
        limiter = RateLimiter(
            state_file(self._limited_site(pending), self.options.rate_state, self.store_state),
            self.site.rate_per_hour if rate is None else rate,
            wait_scale=self.options.wait_scale,
            max_pause_s=self.options.max_pause_s,
        )
        ytdlp = YtDlpPool(self.options)
        disk = DiskGuard(self.downloads.raw, self.options.min_free_bytes)
        try:
            ytdlp.warm_up(min(self.options.workers, len(pending)))
            pool = AttemptPool(partial(self._attempt, ytdlp), limiter, self.options, disk)
            yield from pool.run(pending)
        finally:
            ytdlp.close()

    def _limited_site(self, requests: Sequence[MediaRequest]) -> str:
        """Return the site of all clips, or the source's name where they have several."""
        sites = {site_of(url) for url in self._urls(requests)}
        return sites.pop() if len(sites) == 1 else self.site.name

    def _urls(self, requests: Sequence[MediaRequest]) -> list[str]:
        urls = []
        for request in requests:
            with contextlib.suppress(AttemptError):
                urls.append(self.site.url(request))
        return urls

    def _attempt(self, ytdlp: YtDlpPool, request: MediaRequest) -> Attempt:
        download = partial(self._download, ytdlp)
        options = self.options
        return run_attempt(request, download, self.tool, options.wait_scale, options.max_pause_s)

    def _download(self, ytdlp: YtDlpPool, request: MediaRequest) -> tuple[DownloadedFile, str]:
        url = self.site.url(request)
        folder = self.downloads.scratch(request.key)
        try:
            youtube = self.site is YOUTUBE
            video_id = request.source_id if youtube else None
            job = DownloadJob(url, str(folder), request.start_s, request.end_s, video_id)
            answer = ytdlp.download(job, youtube)
            whole = request.end_s is None and bool(request.start_s)
            file = self.downloads.commit(request.key, Path(answer["path"]), whole)
            return file, answer["note"]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
