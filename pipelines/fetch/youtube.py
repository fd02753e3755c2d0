"""Clips from YouTube, or from any page or address that yt-dlp knows, through its Python API."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.fetch.attempt import Media, attempt
from pipelines.fetch.base import Fetched, Wanted
from pipelines.fetch.landing import Landing
from pipelines.fetch.options import FetchOptions
from pipelines.fetch.ytdlp import Job, YtDlp


class YouTubeSource:
    """Only the clip's seconds of each video, both streams in one run of yt-dlp."""

    rechecks = False

    def __init__(self, options: FetchOptions, raw: Path) -> None:
        self.landing = Landing(raw)
        self.ytdlp = YtDlp(options)
        self.tool = f"yt-dlp {_version()}"

    def fetch(self, wanted: Sequence[Wanted]) -> Iterator[Fetched]:
        """One outcome an attempt."""
        self.landing.prepare()
        try:
            for clip in wanted:
                yield attempt(clip, self._get, self.tool)
        finally:
            self.ytdlp.close()

    def _get(self, clip: Wanted) -> Media:
        if path := self.landing.landed(clip.key):
            return Media(path, note="was fetched by a run that could not say so")
        folder = self.landing.scratch(clip.key)
        try:
            job = Job(watch_url(clip.source_id), str(folder), clip.start_s, clip.end_s,
                      self.ytdlp.options)  # fmt: skip
            answer = self.ytdlp.download(job, youtube=True)
            path, _ = self.landing.land(clip.key, Path(answer["path"]))
            return Media(path, answer["offset_s"], answer["note"])
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def watch_url(video_id: str) -> str:
    """The address of a YouTube video."""
    return f"https://www.youtube.com/watch?v={video_id}"


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415

    return version("yt-dlp")
