"""Decode media of others in a worker process, so that a decoder's crash or hang costs one clip.

The worker has its own process group and is kept from clip to clip. If a clip takes too long, the
whole group is killed. A clip that crashes or hangs the worker twice gets the verdict
`crashed_decoder`. A worker that something else killed, as the kernel does when memory is short, is
the machine's fault: after the second time the verdict is `machine_killed`, which is retryable.
"""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from avstore.manifests.errors import memory_hint
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import protocol
from avstore.pipelines.extract.decoders import require_decoder
from avstore.pipelines.extract.foreign_audio import ForeignAudio
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult, Quality, Rejected

TIMEOUT_S = 120.0
ENCODING_S = 10.0
"""Seconds that a second of stored video may take beside that."""

MEMORY_BYTES = 4 << 30
START_TIMEOUT_S = 60.0
MAX_ATTEMPTS = 2

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Keep freed memory from frame to frame: glibc would return it and page it in again.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_TOP_PAD_": str(1 << 24),
}


_KILLS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
"""Signals that the machine or a person sends; a decoder that fails ends by others."""

_NO_START = "the extraction process does not start"

_T = TypeVar("_T")


class _Failure(Exception):  # noqa: N818 - a finding about the worker, handled here
    """Report that the worker died, hung, ran out of memory or sent an invalid reply."""

    verdict = Verdict.CRASHED_DECODER
    summary = "the decoder failed"


class _Crash(_Failure):
    """The clip made the worker fail."""


class _Killed(_Failure):
    """The machine ended or stopped the worker, or has too little memory for it."""

    verdict = Verdict.MACHINE_KILLED
    summary = "the machine ended the extraction process"


class Sandbox:
    """Extract clips, or decode foreign audio, in a worker process. Thread-safe, one at a time.

    Args:
        recipe: The extraction settings; None for a sandbox that decodes foreign audio.
        timeout_s: Seconds that a clip may take, without the encoding of a video (ENCODING_S).
        memory_bytes: Address space of the worker process in bytes; 0 sets no limit. A smaller
            limit of the calling process (`ulimit -v`) holds. `decoder = "nvdec"` sets none.

    Raises:
        RecipeError: The recipe's decoder is not installed.
    """

    def __init__(
        self,
        recipe: Recipe | None = None,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        if recipe:
            require_decoder(recipe)
        self._recipe = recipe
        encoded_s = recipe.duration_s if recipe and recipe.video else 0.0
        self._timeout_s = timeout_s + ENCODING_S * encoded_s
        # CUDA maps all of the GPU's and the machine's memory into the address space.
        on_gpu = recipe is not None and recipe.decoder == "nvdec"
        self._memory_bytes = 0 if on_gpu else memory_bytes
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker. The next `extract` starts another."""
        with self._lock:
            self._stop_worker()

    def extract(self, source: ClipSource) -> ExtractionResult:
        """Extract one clip as `extract_clip` does.

        Returns:
            The clip's result, with the verdict `crashed_decoder` after the second crash, or
            `machine_killed` after the second kill that was not the sandbox's own.

        Raises:
            OSError: The file or the machine failed, not the clip; or no worker starts.
        """
        try:
            return self._serve({"clip": asdict(source)}, (), protocol.unpack)
        except Rejected as failed:
            return ExtractionResult(source.clip_id, failed.verdict, failed.detail, None, Quality())

    def decode_audio(
        self, content: bytes, fbank: bytes, rate: int, max_seconds: float, *, keep: bool = False
    ) -> ForeignAudio:
        """Decode an audio file as `decode_foreign_audio` does.

        Raises:
            Rejected: It cannot be decoded, or its decoder crashed or was killed twice.
            OSError: No worker starts.
        """
        request = {"audio": {"rate": rate, "max_seconds": max_seconds, "keep": keep}}
        return self._serve(request, (content, fbank), protocol.unpack_audio)

    def probe(self, path: str) -> float | str:
        """Return the duration in seconds that a file declares, or why there is none.

        Raises:
            OSError: No worker starts.
        """
        try:
            seconds = self._serve({"probe": path}, (), protocol.unpack_seconds)
        except Rejected as rejected:
            return rejected.detail
        return seconds if seconds > 0 else "it declares no duration"

    def _serve(
        self,
        request: dict[str, Any],
        bodies: Sequence[bytes],
        unpack: Callable[[dict[str, Any], Sequence[bytes]], _T],
    ) -> _T:
        """Return the worker's answer, tried again after a failure. Raises Rejected, OSError."""
        failures: Counter[Verdict] = Counter()
        with self._lock:
            while True:
                try:
                    return self._request(request, bodies, unpack)
                except _Failure as failure:
                    self._stop_worker()
                    failures[failure.verdict] += 1
                    if failures[failure.verdict] == MAX_ATTEMPTS:
                        detail = f"{failure.summary} {MAX_ATTEMPTS} times: {failure}"
                        raise Rejected(failure.verdict, detail) from failure
                except Rejected:
                    raise
                except BaseException:
                    self._stop_worker()  # its reply must not be taken for the next clip's
                    raise

    def _request(
        self,
        request: dict[str, Any],
        bodies: Sequence[bytes],
        unpack: Callable[[dict[str, Any], Sequence[bytes]], _T],
    ) -> _T:
        """Send one request to the worker, started if there is none. Raises _Failure, Rejected."""
        worker = self._ready_worker()
        header, answer = worker.request(request, self._timeout_s, bodies)
        if "os_error" in header:
            number, text, path = header["os_error"]
            raise OSError(number, text, path)
        if "memory" in header:
            limit = worker.memory_bytes
            inherited = limit < self._memory_bytes or not self._memory_bytes
            kind = _Killed if inherited else _Crash
            raise kind(f"out of memory (limit {limit >> 20} MiB)")
        try:
            if "rejected" in header:
                verdict, detail = header["rejected"]
                raise Rejected(Verdict(verdict), str(detail))
            return unpack(header, answer)
        except (protocol.ProtocolError, ValueError) as error:
            raise _Crash(f"its reply was {error}") from error

    def _ready_worker(self) -> "_Worker":
        if self._worker is not None and not self._worker.alive:
            self._stop_worker()  # it died between two clips, which is the fault of neither
        if self._worker is None:
            self._worker = _Worker(self._recipe, self._memory_bytes)
        return self._worker

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


class _Worker:
    """Hold one worker process, its pipes and its standard error."""

    def __init__(self, recipe: Recipe | None, memory_bytes: int) -> None:
        self.memory_bytes = 0
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            **WORKER_ENVIRONMENT,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "avstore.pipelines.extract.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
            start_new_session=True,
        )
        settings = {
            "recipe": recipe and recipe.model_dump(mode="json"),
            "memory_bytes": memory_bytes,
            "parent": os.getpid(),
        }
        try:
            header, _ = self.request(settings, START_TIMEOUT_S)
        except _Killed:
            self.kill()
            raise
        except _Crash as crash:
            self.kill()
            raise OSError(errno.EIO, f"{_NO_START}: {crash}{memory_hint()}") from crash
        if "ready" not in header:
            self.kill()
            raise OSError(errno.EIO, f"{_NO_START}: no 'ready' message")
        self.memory_bytes = int(header["memory_bytes"])

    @property
    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._process.poll() is None

    def request(
        self, header: dict[str, Any], timeout_s: float, bodies: Sequence[bytes] = ()
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Send one request and wait for its reply. Raises _Failure."""
        pipe, replies = self._process.stdin, self._process.stdout
        if pipe is None or replies is None:  # for the type checker: both are pipes
            raise _Crash("no pipes")
        expired = threading.Event()
        stopped = threading.Event()

        def expire() -> None:
            if self._is_stopped():
                stopped.set()
            expired.set()
            self._kill_group()

        watchdog = threading.Timer(timeout_s, expire)
        watchdog.daemon = True
        watchdog.start()
        started = time.monotonic()
        try:
            protocol.send(pipe, header, bodies)
            reply = protocol.receive(replies)
        except (BrokenPipeError, protocol.ProtocolError) as error:
            reply, broken = None, str(error)
        else:
            broken = "no reply"
        finally:
            watchdog.cancel()
        if expired.is_set():
            took = time.monotonic() - started
            if stopped.is_set():
                raise _Killed(f"stopped by a signal for up to {took:.1f} s")
            raise _Crash(f"no result after {took:.1f} s (timeout {timeout_s:g} s), killed")
        if reply is None:
            raise self._exit_failure(broken)
        return reply

    def kill(self) -> None:
        """Kill the process and everything it started, and wait for it."""
        self._kill_group()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # closing flushes a request that was not sent
                    stream.close()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # already ended
            os.killpg(self._process.pid, signal.SIGKILL)

    def _is_stopped(self) -> bool:
        """Return whether a signal such as SIGSTOP has stopped the process (Linux)."""
        try:
            status = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[:1] == ["T"]

    def _exit_failure(self, broken: str) -> _Failure:
        """Return whose fault the end of the process is: its signal says so."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return _Crash("it closed its pipe but did not end")
        if -code in _KILLS:
            return _Killed(f"signal {signal.Signals(-code).name}")
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - 2000, 0))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return _Crash(f"{name}: {lines[-1]}" if lines else name or broken)
