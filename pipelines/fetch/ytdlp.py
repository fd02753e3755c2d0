"""Run yt-dlp's Python API in processes that can be killed: send jobs, receive answers."""

import contextlib
import json
import math
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.error_classification import TOO_LARGE, AttemptError, classify
from avstore.pipelines.fetch.source import DEFAULT_FORMAT, FetchOptions

#: Importing yt-dlp takes a second, and much longer on a busy machine.
_START_TIMEOUT_S = 120.0
_CHECK_EVERY_S = 0.1
#: Files that the worker reads after it changed its current folder.
_PATH_OPTIONS = (
    "cachedir",
    "client_certificate",
    "client_certificate_key",
    "cookiefile",
    "ffmpeg_location",
)


@dataclass(frozen=True)
class DownloadJob:
    """One download for a yt-dlp process.

    Attributes:
        url: The video's URL.
        folder: An existing empty folder for the download, absolute.
        start: First second to download, or None for 0.
        end: End (exclusive) in seconds; None downloads the whole video.
        video_id: The id that the site must report, so that it cannot serve another video (a
            trailer) instead; None accepts any.
    """

    url: str
    folder: str
    start: float | None = None
    end: float | None = None
    video_id: str | None = None


class YtDlpPool:
    """A set of yt-dlp processes; each does one job at a time and is replaced when it fails."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = ytdlp_options(options)
        self.timeout_s = options.timeout_s
        self.max_bytes = options.max_bytes
        self._idle: queue.SimpleQueue[_YtDlpProcess] = queue.SimpleQueue()
        self._all: set[_YtDlpProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def warm_up(self, count: int) -> None:
        """Start `count` processes and wait until they are ready.

        Without it the first attempts, though started one after the other, would all wait for
        their process to load and then reach the site at once.
        """
        processes = [self._start() for _ in range(count)]
        for process in processes:
            process.wait_until_ready()
            self._idle.put(process)

    def download(self, job: DownloadJob, youtube: bool) -> dict[str, Any]:
        """Run a job.

        Args:
            job: The download.
            youtube: Whether the site is YouTube; its errors are classified differently.

        Returns:
            The answer: 'path' of the downloaded file and a 'note' about its format.

        Raises:
            AttemptError: The download failed, ran longer than `timeout_s` or grew beyond
                `max_bytes`.
        """
        folder = Path(job.folder)

        def check() -> None:
            # The streams of a clip and the file that they are merged into.
            if _folder_bytes(folder) > 2 * self.max_bytes:
                raise AttemptError(Verdict.UNDECODABLE, f"{TOO_LARGE}={self.max_bytes}")

        process = self._take()
        try:
            answer = process.run(asdict(job), self.timeout_s, check)
        except BaseException:
            self._replace(process)
            raise
        self._idle.put(process)
        if "error" in answer:
            raise AttemptError(
                classify(answer["error"], answer["status"], youtube),
                answer["error"],
                parse_retry_after(answer["retry_after"]),
            )
        return answer

    def close(self) -> None:
        """Kill every process and the FFmpeg processes they started."""
        with self._lock:
            self._closed = True
            processes, self._all = self._all, set()
        for process in processes:
            process.kill()

    def _take(self) -> "_YtDlpProcess":
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start()

    def _start(self) -> "_YtDlpProcess":
        with self._lock:
            if self._closed:
                raise AttemptError(Verdict.UNKNOWN, "the run is ending; no yt-dlp is started")
            process = _YtDlpProcess(self.options)
            self._all.add(process)
        return process

    def _replace(self, process: "_YtDlpProcess") -> None:
        process.kill()
        with self._lock:
            self._all.discard(process)
        with contextlib.suppress(AttemptError):
            self._idle.put(self._start())  # it loads while other jobs run


class _YtDlpProcess:
    """One yt-dlp process that leads its own process group."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "avstore.pipelines.fetch.ytdlp_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._ready = False
        self._send(options)

    def wait_until_ready(self) -> None:
        """Wait until yt-dlp is loaded; a process that never loads fails its first job."""
        if not self._ready and self.process.stdout is not None:
            handle = self.process.stdout.fileno()
            self._ready = bool(_read_line(handle, time.monotonic() + _START_TIMEOUT_S))

    def run(
        self, job: dict[str, Any], timeout_s: float, check: Callable[[], None]
    ) -> dict[str, Any]:
        """Return the answer to a job.

        Args:
            job: The fields of a DownloadJob.
            timeout_s: Seconds for the job, without the time to load.
            check: Called a few times a second; may raise.

        Raises:
            AttemptError: The process did not answer in time, or died.
        """
        self.wait_until_ready()
        self._send(job)
        line: bytes | None = b""
        if self.process.stdout is not None:
            line = _read_line(self.process.stdout.fileno(), time.monotonic() + timeout_s, check)
        if line is None:
            raise AttemptError(
                Verdict.TIMEOUT,
                f"not finished after timeout_s ({timeout_s:g} s); yt-dlp and FFmpeg were killed",
            )
        if not line:
            raise AttemptError(
                Verdict.UNKNOWN, f"the yt-dlp process died (exit code {self.process.poll()})"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """Kill the process and everything it started, and close its pipes."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        # A dead process is noticed when its answer does not arrive.
        with contextlib.suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
                self.process.stdin.flush()


def ytdlp_options(options: FetchOptions) -> dict[str, Any]:
    """Return the options of `yt_dlp.YoutubeDL`; FFmpeg is the one from the wheel."""
    named = {
        "format": options.format or DEFAULT_FORMAT,
        "cookiefile": options.cookies_file,
        "cookies_browser": options.cookies_browser,
        "max_filesize": options.max_bytes,
        "proxy": options.proxy,
        "allow_private": options.allow_private,
        "source_address": options.source_address,
        "extractor_args": {ie: dict(args) for ie, args in options.extractor_args.items()} or None,
        "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
        # Microseconds without a byte after which FFmpeg gives up a connection.
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", "20000000"]},
    }
    merged = {**{k: v for k, v in named.items() if v is not None}, **options.ytdlp}
    paths = {key: merged[key] for key in _PATH_OPTIONS if isinstance(merged.get(key), str)}
    return merged | {key: os.path.abspath(os.path.expanduser(p)) for key, p in paths.items()}


def parse_retry_after(header: str | None) -> float | None:
    """Return a Retry-After header in seconds from now, None where it is missing or unusable."""
    if not header:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return None


def _folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder, some of which may vanish meanwhile."""
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _read_line(
    handle: int, deadline: float, check: Callable[[], None] = lambda: None
) -> bytes | None:
    """Read a line from a pipe: b'' at its end, None when the deadline passes first."""
    line = b""
    while not line.endswith(b"\n"):
        wait_s = min(_CHECK_EVERY_S, max(0.0, deadline - time.monotonic()))
        ready, _, _ = select.select([handle], [], [], wait_s)
        if not ready:
            if time.monotonic() >= deadline:
                return None
            check()
            continue
        block = os.read(handle, 65536)
        if not block:
            return b""
        line += block
    return line
