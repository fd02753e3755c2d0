"""yt-dlp's Python API, in processes that can be killed: jobs out, answers or verdicts back."""

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import imageio_ffmpeg

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.taxonomy import AttemptError, classify

#: Importing yt-dlp takes a second, and on a busy machine many.
_START_S = 120.0


@dataclass(frozen=True)
class Job:
    """One download: the seconds [start, end) of `url` (end None: all of it) into `folder`.

    video_id: the site's own, where another video must not come instead (a trailer).
    """

    url: str
    folder: str
    start: float | None = None
    end: float | None = None
    video_id: str | None = None


class YtDlp:
    """A set of yt-dlp processes; each does one job at a time and is replaced when it fails."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = ytdlp_options(options)
        self.timeout_s = options.timeout_s
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._all: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def warm_up(self, count: int) -> None:
        """Start so many processes and wait till they are ready, before any request is due.

        Else the first attempts, let through one after the other, would all begin at once.
        """
        children = [self._start() for _ in range(count)]
        for child in children:
            child.wait_until_ready()
            self._idle.put(child)

    def download(self, job: Job, youtube: bool) -> dict[str, Any]:
        """The answer to a job: path, note. Raises AttemptError."""
        child = self._take()
        try:
            answer = child.ask(asdict(job), self.timeout_s)
        except BaseException:
            self._drop(child)
            raise
        self._idle.put(child)
        if "error" in answer:
            status = answer["status"]
            raise AttemptError(
                classify(answer["error"], status, youtube),
                answer["error"],
                seconds_of(answer["retry_after"]),
            )
        return answer

    def close(self) -> None:
        """Kill every process, with the FFmpeg it may have started."""
        with self._lock:
            self._closed = True
            children, self._all = self._all, set()
        for child in children:
            child.kill()

    def _take(self) -> "_Child":
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start()

    def _start(self) -> "_Child":
        with self._lock:
            if self._closed:
                raise AttemptError(Verdict.UNKNOWN, "the run is ending")
            child = _Child(self.options)
            self._all.add(child)
        return child

    def _drop(self, child: "_Child") -> None:
        child.kill()
        with self._lock:
            self._all.discard(child)
        with contextlib.suppress(AttemptError):
            self._idle.put(self._start())  # it loads while the queue goes on


class _Child:
    """One process, in a process group of its own."""

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
        """Wait till it has loaded everything; a process that never does fails its first job."""
        if not self._ready and self.process.stdout is not None:
            handle = self.process.stdout.fileno()
            self._ready = bool(_read_line(handle, time.monotonic() + _START_S))

    def ask(self, job: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Its answer to a job. timeout_s: for the job alone. Raises AttemptError."""
        self.wait_until_ready()
        self._send(job)
        line: bytes | None = b""
        if self.process.stdout is not None:
            line = _read_line(self.process.stdout.fileno(), time.monotonic() + timeout_s)
        if line is None:
            raise AttemptError(
                Verdict.TIMEOUT, f"no end after {timeout_s:g} s; yt-dlp and FFmpeg were killed"
            )
        if not line:
            raise AttemptError(
                Verdict.UNKNOWN, f"the yt-dlp process died (exit code {self.process.poll()})"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        # A process that has died is noticed when its answer does not come.
        with contextlib.suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.write(json.dumps(message).encode() + b"\n")
                self.process.stdin.flush()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def ytdlp_options(options: FetchOptions) -> dict[str, Any]:
    """Our options as those of `YoutubeDL`; FFmpeg is the one from the wheel."""
    named = {
        "format": options.format,
        "cookiefile": options.cookies_file,
        "cookies_browser": options.cookies_browser,
        "max_filesize": options.max_bytes,
        "proxy": options.proxy,
        "source_address": options.source_address,
        "extractor_args": {ie: dict(args) for ie, args in options.extractor_args.items()} or None,
        "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
        # Microseconds without a byte after which FFmpeg gives a connection up.
        "external_downloader_args": {"ffmpeg_i": ["-rw_timeout", "20000000"]},
    }
    return {**{k: v for k, v in named.items() if v is not None}, **options.ytdlp}


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header in seconds from now; None where it says nothing usable."""
    if not retry_after:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(retry_after))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return None


def _read_line(handle: int, deadline: float) -> bytes | None:
    """A line from a pipe; b'' at its end; None when the deadline passes first."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        block = os.read(handle, 65536)
        if not block:
            return b""
        line += block
    return line
