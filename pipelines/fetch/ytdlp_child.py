"""The process in which yt-dlp runs: a JSON job a line on stdin, a JSON answer a line on stdout.

A process of its own, since yt-dlp and the FFmpeg it starts can hang, crash and leak; its parent
can kill it with all it started. It ends, with FFmpeg, when its parent is gone (stdin closes).

Job: {"url", "folder", "start", "end", "options"}. Answer: {"path", "offset_s", "note"} or
{"error", "status", "retry_after"}. Run as `python -m pipelines.fetch.ytdlp_child`.
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
}


def download(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; failures come back as data."""
    from yt_dlp import YoutubeDL  # noqa: PLC0415 - only this process needs it
    from yt_dlp.utils import YoutubeDLError, download_range_func  # noqa: PLC0415

    os.chdir(job["folder"])
    refused: list[str] = []
    options = {**_OPTIONS, **job["options"], "logger": _Silent()}
    if browser := options.pop("cookies_browser", None):
        options["cookiesfrombrowser"] = tuple(browser.split(":"))
    options["match_filter"] = lambda info, incomplete=False: _refuse(info, job, refused)
    if job["end"] is not None:
        options["download_ranges"] = download_range_func(None, [(job["start"], job["end"])])
    try:
        with YoutubeDL(options) as ydl:
            info = ydl.extract_info(job["url"])
    except YoutubeDLError as error:
        return _failure(error)
    if refused:
        return {"error": refused[0], "status": None, "retry_after": None}
    return _success(info, job)


def _refuse(info: dict[str, Any], job: dict[str, Any], refused: list[str]) -> str | None:
    """Why yt-dlp shall not download this: live now, or over before the clip begins."""
    reason = None
    duration, start = info.get("duration"), job["start"] or 0.0
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        reason = "This live event is not over: there is nothing to cut yet"
    elif duration and start >= duration:
        reason = (
            f"these seconds do not exist: the video is {duration:g} s long, the clip starts at "
            f"{start:g} s"
        )
    if reason:
        refused.append(reason)
    return reason


def _success(info: dict[str, Any] | None, job: dict[str, Any]) -> dict[str, Any]:
    entry = info or {}
    if entry.get("entries"):
        entry = next(iter(entry["entries"])) or {}
    files = [d["filepath"] for d in entry.get("requested_downloads") or [] if d.get("filepath")]
    paths = [Path(job["folder"]) / f for f in files]
    if len(paths) != 1 or not paths[0].is_file():
        return {
            "error": f"yt-dlp ended without an error and without a file ({files or 'none'})",
            "status": None,
            "retry_after": None,
        }
    note = " ".join(
        str(entry[name]) for name in ("format_id", "width", "height") if entry.get(name)
    )
    return {"path": str(paths[0]), "offset_s": 0.0, "note": note and f"format {note}"}


def _failure(error: BaseException) -> dict[str, Any]:
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
    message = str(error).removeprefix("ERROR: ")
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
    while True:
        job = json.loads(jobs.get())
        try:
            answer = download(job)
        except Exception as error:  # the parent must always get an answer
            answer = _failure(error)
            answer["error"] = f"{type(error).__name__}: {answer['error']}"
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
