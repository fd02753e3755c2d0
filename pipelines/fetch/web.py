"""Clips from YouTube, or from any address that yt-dlp knows how to read, through its Python API."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Started, Tried, attempt, stored
from avstore.pipelines.fetch.download_dir import DownloadDir, DownloadedFile
from avstore.pipelines.fetch.fleet import Fleet
from avstore.pipelines.fetch.guards import DiskWatch
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.preflight import check_web, raise_or_warn
from avstore.pipelines.fetch.rate_limit import Gate
from avstore.pipelines.fetch.source import FetchResult, MediaRequest
from avstore.pipelines.fetch.taxonomy import AttemptError
from avstore.pipelines.fetch.ytdlp import Job, YtDlp

_PREFLIGHT_CLIPS = 50


@dataclass(frozen=True)
class Site:
    """Where clips come from. address: of a clip's video. rate_per_hour: when none is asked for."""

    name: str
    address: Callable[[MediaRequest], str]
    rate_per_hour: float


def watch_address(clip: MediaRequest) -> str:
    """The address of a clip's YouTube video."""
    return f"https://www.youtube.com/watch?v={clip.source_id}"


def own_address(clip: MediaRequest) -> str:
    """The clip's own address. Raises AttemptError where the dataset publishes none."""
    if not clip.url:
        raise AttemptError(Verdict.NOT_FOUND, "the dataset publishes no address for this clip")
    if not clip.url.startswith(("http://", "https://")):
        raise AttemptError(Verdict.NOT_FOUND, f"{clip.url!r} is no http(s) address")
    return clip.url


#: A guest may watch about 300 videos an hour; a little below that.
YOUTUBE = Site("youtube", watch_address, 280.0)
URLS = Site("urls", own_address, 0.0)


class WebSource:
    """Only the clip's seconds of each video, both streams in one run of yt-dlp.

    raw: STORE/raw/<dataset>. The gate's state is STORE/state/fetch-<site>.json, one for all
    datasets: a site counts what this machine asks for, whichever dataset it is for.
    """

    rechecks = False

    def __init__(self, site: Site, options: FetchOptions, raw: Path) -> None:
        self.site = site
        self.options = options
        self.landing = DownloadDir(raw)
        self.state = raw.parent.parent / "state" / f"fetch-{site.name}.json"
        self.tool = f"{site.name} by yt-dlp {version('yt-dlp')}"

    def fetch(self, wanted: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """One outcome an attempt; a clip may have several. Raises SourceError, FetchStopped."""
        self.landing.prepare()
        landed = self.landing.landed()
        for clip in wanted:
            if file := landed.get(clip.key):
                note = "was fetched by a run that ended before it could say so"
                yield stored(clip, file, note, self.tool, Started.now(), charged=False)
        pending = [clip for clip in wanted if clip.key not in landed]
        if not pending:
            return
        addresses = self._addresses(pending[:_PREFLIGHT_CLIPS])
        raise_or_warn(check_web(addresses, len(pending), self.landing.raw, self.options))
        rate = self.options.rate_per_hour
        gate = Gate(
            self.state,
            self.site.rate_per_hour if rate is None else rate,
            wait_scale=self.options.wait_scale,
        )
        ytdlp = YtDlp(self.options)
        disk = DiskWatch(self.landing.raw, self.options.min_free_bytes)
        try:
            ytdlp.warm_up(min(self.options.workers, len(pending)))
            yield from Fleet(partial(self._try, ytdlp), gate, self.options, disk).run(pending)
        finally:
            ytdlp.close()

    def _addresses(self, clips: Sequence[MediaRequest]) -> list[str]:
        found = []
        for clip in clips:
            with contextlib.suppress(AttemptError):
                found.append(self.site.address(clip))
        return found

    def _try(self, ytdlp: YtDlp, clip: MediaRequest) -> Tried:
        return attempt(clip, partial(self._get, ytdlp), self.tool, self.options.wait_scale)

    def _get(self, ytdlp: YtDlp, clip: MediaRequest) -> tuple[DownloadedFile, str]:
        address = self.site.address(clip)
        folder = self.landing.scratch(clip.key)
        try:
            youtube = self.site is YOUTUBE
            video_id = clip.source_id if youtube else None
            job = Job(address, str(folder), clip.start_s, clip.end_s, video_id)
            answer = ytdlp.download(job, youtube)
            whole = clip.end_s is None and bool(clip.start_s)
            return self.landing.land(clip.key, Path(answer["path"]), whole), answer["note"]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
