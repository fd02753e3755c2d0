"""The process in which yt-dlp runs: a JSON job a line on stdin, a JSON answer a line on stdout.

A process of its own, since yt-dlp and the FFmpeg it starts can hang, crash and leak; its parent
can kill it with all it started. It ends, with FFmpeg, when its parent is gone (stdin closes).

The first line is the options, answered by {} when all is loaded: from then on a job's time counts.
Job: {"url", "folder", "start", "end", "video_id"}. Answer: {"path", "note"} or
{"error", "status", "retry_after"}. Run as `python -m avstore.pipelines.fetch.ytdlp_worker`.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.postprocessor.common import PostProcessor
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError, download_range_func

_OPTIONS: dict[str, Any] = {
    "outtmpl": "media.%(ext)s",
    "quiet": True,
    "no_warnings": True,
    "noprogress": True,
    "noplaylist": True,
    "playlist_items": "1",
    "nopart": True,
    "updatetime": False,
    "overwrites": True,
    # An attempt is one attempt: the queue retries, with its own patience.
    "retries": 0,
    "extractor_retries": 0,
    "fragment_retries": 2,
    "socket_timeout": 20.0,
    # YouTube's media addresses come out of scripts; whichever runtime is there may run them.
    "js_runtimes": {"deno": {}, "node": {}, "bun": {}},
}
_MP4_CODECS = ("avc", "h264", "hev", "hvc", "h265", "av01", "av1", "vp9", "vp09", "mp4a", "aac",
               "opus", "mp3", "ac-3", "ec-3", "ac3", "eac3", "mp4v")  # fmt: skip
_MP4_EXTENSIONS = ("mp4", "m4v", "m4a", "mov", "3gp")


class Session:
    """One `YoutubeDL`, kept from job to job: it holds cookies and the site's player scripts."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.refused: str | None = None
        self.job: dict[str, Any] = {}
        params = {**_OPTIONS, **options, "logger": _Silent(), "match_filter": self._refuse}
        if browser := params.pop("cookies_browser", None):
            params["cookiesfrombrowser"] = tuple(browser.split(":"))
        # The option alone does not reach yt-dlp's check for partial downloads; its own command
        # line sets this as well.
        FFmpegPostProcessor._ffmpeg_location.set(options.get("ffmpeg_location"))
        self.ydl = YoutubeDL(params)
        self.ydl.add_post_processor(_Cutter(self.ydl), when="video")

    def download(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do one job; failures come back as data."""
        self.job, self.refused = job, None
        os.chdir(job["folder"])
        self.ydl.params.pop("download_ranges", None)
        if job["end"] is not None:
            span = [(job["start"] or 0.0, job["end"])]
            self.ydl.params["download_ranges"] = download_range_func(None, span)
        try:
            info = self.ydl.extract_info(job["url"])
        except YoutubeDLError as error:
            return failure(error)
        if self.refused:
            return {"error": self.refused, "status": None, "retry_after": None}
        return _success(info, job)

    def _refuse(self, info: dict[str, Any], incomplete: bool = False) -> str | None:
        """Why yt-dlp shall not download this: another video, live now, over before the clip."""
        duration, start = info.get("duration"), self.job["start"] or 0.0
        expected = self.job.get("video_id")
        if expected and info.get("id") != expected:
            self.refused = f"video not available: the site offers {info.get('id')} in its place"
        elif info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            self.refused = "This live event is not over: there is nothing to cut yet"
        elif duration and start >= duration:
            self.refused = (
                f"these seconds do not exist: the video is {duration:g} s long, the clip starts "
                f"at {start:g} s"
            )
        return self.refused


class _Cutter(PostProcessor):  # type: ignore[misc,no-any-unimported]
    """Decides, once the formats are chosen, how the seconds are cut out of them.

    In MP4 a copied cut starts exactly where it was asked to: packets from the key frame before
    are there, and the edit list says that presentation starts later. WebM has no such list, so
    its codecs are copied into MP4 as well; what MP4 cannot hold is encoded anew.
    """

    def run(self, info: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        if info.get("section_end") is not None:
            self._downloader.params["force_keyframes_at_cuts"] = not _fits_mp4(info)
            info["ext"] = "mp4"
        return [], info


def _fits_mp4(info: dict[str, Any]) -> bool:
    """Whether MP4 can hold the chosen streams as they are (unknown codecs: by container)."""
    for chosen in info.get("requested_formats") or [info]:
        codecs = [chosen.get(kind) for kind in ("vcodec", "acodec")]
        known = [codec for codec in codecs if codec and codec != "none"]
        if known and not all(codec.lower().startswith(_MP4_CODECS) for codec in known):
            return False
        if not known and chosen.get("ext") not in _MP4_EXTENSIONS:
            return False
    return True


def _success(info: dict[str, Any] | None, job: dict[str, Any]) -> dict[str, Any]:
    entry = info or {}
    if entry.get("entries"):
        entry = next(iter(entry["entries"])) or {}
    files = [d["filepath"] for d in entry.get("requested_downloads") or [] if d.get("filepath")]
    paths = [Path(job["folder"]) / f for f in files]
    if len(paths) != 1 or not paths[0].is_file():
        text = f"yt-dlp ended without an error and without a file ({files or 'none'})"
        return {"error": text, "status": None, "retry_after": None}
    known = (entry.get(name) for name in ("format_id", "width", "height"))
    note = " ".join(str(value) for value in known if value)
    return {"path": str(paths[0]), "note": note and f"format {note}"}


def failure(error: BaseException) -> dict[str, Any]:
    """The message as yt-dlp words it, and what the HTTP answer behind it said."""
    status: int | None = None
    retry_after: str | None = None
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        response = getattr(seen, "response", None)
        if response is not None:
            status = getattr(response, "status", None)
            retry_after = response.headers.get("Retry-After")
        info = getattr(seen, "exc_info", None)
        seen = (info[1] if info else None) or getattr(seen, "cause", None) or seen.__cause__
    message = str(error).strip().removeprefix("ERROR: ")
    return {"error": message, "status": status, "retry_after": retry_after}


class _Silent:
    """A logger for yt-dlp that says nothing: what matters comes as an exception."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


def _read_jobs(jobs: "queue.SimpleQueue[str]") -> None:
    """Hand on each line; when the parent is gone, end at once with everything started here."""
    for line in sys.stdin:
        jobs.put(line)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Serve jobs until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    options = json.loads(jobs.get())
    session: Session | None = Session(options)
    answers.write("{}\n")
    answers.flush()
    while True:
        job = json.loads(jobs.get())
        try:
            session = session or Session(options)
            answer = session.download(job)
        except Exception as error:  # the parent must always get an answer
            answer = failure(error)
            answer["error"] = f"{type(error).__name__}: {answer['error']}"
            session = None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
