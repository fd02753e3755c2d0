"""Run yt-dlp as a process that reads JSON jobs from stdin and writes JSON answers to stdout.

yt-dlp and the FFmpeg it starts can hang, crash and leak, so they run in a process group that the
parent can kill. The group ends when its parent is gone (stdin closes).

The first line holds the options; it is answered by {} when yt-dlp is loaded, and only then does a
job's time count. A job is {"url", "folder", "start", "end", "video_id"}. An answer is
{"path", "note"} or {"error", "status", "retry_after"}. Run it as
`python -m avstore.pipelines.fetch.ytdlp_worker`.
"""

import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from yt_dlp import YoutubeDL
from yt_dlp.postprocessor.common import PostProcessor
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError, download_range_func

from avstore.pipelines.fetch.address_guard import AddressGuard, PrivateAddressError
from avstore.pipelines.fetch.error_classification import TOO_LARGE, error_text

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
    # The attempt pool retries with its own waits, so yt-dlp must not.
    "retries": 0,
    "extractor_retries": 0,
    "fragment_retries": 2,
    "skip_unavailable_fragments": False,
    "socket_timeout": 20.0,
    # YouTube computes media URLs in JavaScript; any installed runtime may run it.
    "js_runtimes": {"deno": {}, "node": {}, "bun": {}},
}
_MP4_CODECS = ("avc", "h264", "hev", "hvc", "h265", "av01", "av1", "vp9", "vp09", "mp4a", "aac",
               "opus", "mp3", "ac-3", "ec-3", "ac3", "eac3", "mp4v")  # fmt: skip
_MP4_EXTENSIONS = ("mp4", "m4v", "m4a", "mov", "3gp")


class Downloader:
    """One `YoutubeDL`, reused for every job because it holds cookies and player scripts."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.refused: str | None = None
        self.job: dict[str, Any] = {}
        params = {**_OPTIONS, **options, "logger": _Logger(self), "match_filter": self._refuse}
        guarded = not params.pop("allow_private", False) and not params.get("proxy")
        self.guard = _start_guard(params) if guarded and not getproxies() else None
        if browser := params.pop("cookies_browser", None):
            params["cookiesfrombrowser"] = tuple(browser.split(":"))
        # yt-dlp's check for partial downloads ignores the option; its command line sets this
        # context variable too.
        FFmpegPostProcessor._ffmpeg_location.set(options.get("ffmpeg_location"))
        self.ydl = YoutubeDL(params)
        self.ydl.add_post_processor(_Cutter(self.ydl), when="video")

    def download(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one job and return its answer; a failure is an answer with 'error'."""
        self.job, self.refused = job, None
        if self.guard:
            self.guard.errors.clear()
        os.chdir(job["folder"])
        self.ydl.params.pop("download_ranges", None)
        if job["end"] is not None:
            span = [(job["start"] or 0.0, job["end"])]
            self.ydl.params["download_ranges"] = download_range_func(None, span)
        try:
            info = self.ydl.extract_info(job["url"])
        except YoutubeDLError as error:
            if not self.refused:
                return self._network_error() or error_answer(error)
            info = None
        if self.guard and any(isinstance(e, PrivateAddressError) for e in self.guard.errors):
            return self._network_error() or {}
        if self.refused:
            return {"error": self.refused, "status": None, "retry_after": None}
        return _download_answer(info, job)

    def _network_error(self) -> dict[str, Any] | None:
        """Return the answer for a connection that the guard could not open, or None."""
        if not self.guard or not self.guard.errors:
            return None
        error = self.guard.errors[0]
        text = str(error) if isinstance(error, PrivateAddressError) else error_text(error)
        return {"error": text, "status": None, "retry_after": None}

    def _refuse(self, info: dict[str, Any], incomplete: bool = False) -> str | None:
        """Return why yt-dlp must not download a video, or None.

        It may be another video, a live event, or shorter than the clip's start. The phrases are
        matched by `error_classification.RULES`.
        """
        duration, start = info.get("duration"), self.job["start"] or 0.0
        expected = self.job.get("video_id")
        if expected and info.get("id") != expected:
            self.refused = f"video not available: the site serves {info.get('id')} instead"
        elif info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            self.refused = "This live event has not ended, so it cannot be cut yet"
        elif duration and start >= duration:
            self.refused = (
                f"these seconds do not exist: the clip starts at {start:g} s, but the video is "
                f"{duration:g} s long"
            )
        return self.refused


def _start_guard(params: dict[str, Any]) -> AddressGuard:
    """Let yt-dlp, and FFmpeg below it, connect through an AddressGuard alone."""
    guard = AddressGuard(params.pop("source_address", None))
    for name in ("no_proxy", "NO_PROXY"):
        os.environ.pop(name, None)
    params["proxy"] = guard.url
    return guard


class _Cutter(PostProcessor):  # type: ignore[misc,no-any-unimported]
    """Decide how the seconds are cut once yt-dlp has selected the formats.

    In MP4 a cut without re-encoding starts exactly at the requested time: the packets from the
    preceding key frame are kept and the edit list makes presentation start later. WebM has no
    edit list, so its codecs are copied into MP4 too; codecs that MP4 cannot hold are re-encoded.
    """

    def run(self, info: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """Set the container and whether to re-encode; return (files to delete, info)."""
        if info.get("section_end") is not None:
            self._downloader.params["force_keyframes_at_cuts"] = not _fits_mp4(info)
            info["ext"] = "mp4"
        return [], info


def _fits_mp4(info: dict[str, Any]) -> bool:
    """Return whether MP4 can hold the selected streams; unknown codecs go by the container."""
    for stream in info.get("requested_formats") or [info]:
        codecs = [stream.get(kind) for kind in ("vcodec", "acodec")]
        known = [codec for codec in codecs if codec and codec != "none"]
        if known and not all(codec.lower().startswith(_MP4_CODECS) for codec in known):
            return False
        if not known and stream.get("ext") not in _MP4_EXTENSIONS:
            return False
    return True


def _download_answer(info: dict[str, Any] | None, job: dict[str, Any]) -> dict[str, Any]:
    entry = info or {}
    if entry.get("entries"):
        entry = next(iter(entry["entries"])) or {}
    files = [d["filepath"] for d in entry.get("requested_downloads") or [] if d.get("filepath")]
    paths = [Path(job["folder"]) / f for f in files]
    if len(paths) != 1 or not paths[0].is_file():
        text = f"yt-dlp reported success but wrote no file ({files or 'none'})"
        return {"error": text, "status": None, "retry_after": None}
    details = (entry.get(name) for name in ("format_id", "width", "height"))
    note = " ".join(str(value) for value in details if value)
    return {"path": str(paths[0]), "note": note and f"format {note}"}


def error_answer(error: BaseException) -> dict[str, Any]:
    """Return the answer for a failed job.

    Returns:
        'error': yt-dlp's message; 'status' and 'retry_after' of the HTTP response behind it, or
        None.
    """
    status: int | None = None
    retry_after: str | None = None
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            break
        response = getattr(cause, "response", None)
        if response is not None:
            status = getattr(response, "status", None)
            retry_after = response.headers.get("Retry-After")
        info = getattr(cause, "exc_info", None)
        cause = (info[1] if info else None) or getattr(cause, "cause", None) or cause.__cause__
    message = str(error).strip().removeprefix("ERROR: ")
    return {"error": message, "status": status, "retry_after": retry_after}


class _Logger:
    """A logger that drops yt-dlp's messages, as its errors also arrive as exceptions.

    Only that a file reached `max_filesize` arrives as a message alone.
    """

    def __init__(self, downloader: Downloader) -> None:
        self.downloader = downloader

    def debug(self, message: str) -> None:
        if "larger than max-filesize" in message or "File too large" in message:
            self.downloader.refused = f"{TOO_LARGE}: {message.strip()}"

    info = warning = error = debug


def _read_jobs(jobs: "queue.SimpleQueue[str]") -> None:
    """Queue each line from stdin; when the parent is gone, kill this process group."""
    for line in sys.stdin:
        jobs.put(line)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Answer jobs until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries that print to stdout must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    options = json.loads(jobs.get())
    if limit := options.get("max_filesize"):  # also of FFmpeg's files and of endless bodies
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    downloader: Downloader | None = Downloader(options)
    answers.write("{}\n")
    answers.flush()
    while True:
        job = json.loads(jobs.get())
        try:
            downloader = downloader or Downloader(options)
            answer = downloader.download(job)
        except Exception as error:  # the parent must get an answer to every job
            answer = error_answer(error)
            answer["error"] = f"{type(error).__name__}: {answer['error']}"
            downloader = None  # its state may be broken: start a new one
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
