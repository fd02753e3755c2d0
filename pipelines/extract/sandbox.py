"""Extract clips in a worker process, so that a decoder's crash or hang costs one clip.

The worker has its own process group and is kept from clip to clip. If a clip takes too long, the
whole group is killed. A clip that crashes or hangs the worker twice gets the verdict
`crashed_decoder`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import protocol
from avstore.pipelines.extract.recipe import Recipe, require_decoder
from avstore.pipelines.extract.records import ClipSource, ExtractionResult, Quality

TIMEOUT_S = 120.0
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


class _Crash(Exception):  # noqa: N818 - a finding about the worker, handled here
    """Report that the worker died, hung, ran out of memory or sent an invalid reply."""


class Sandbox:
    """Extract clips by one recipe in a worker process. One clip at a time; thread-safe.

    Args:
        recipe: The extraction settings.
        timeout_s: Seconds that a clip may take.
        memory_bytes: Address space of the worker process in bytes; 0 sets no limit.

    Raises:
        RecipeError: The recipe's decoder is not installed.
    """

    def __init__(
        self, recipe: Recipe, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        require_decoder(recipe)
        self._recipe = recipe
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
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
            The clip's result, with the verdict `crashed_decoder` after the second crash.

        Raises:
            OSError: The file or the machine failed, not the clip; or no worker starts.
        """
        crashes: list[str] = []
        with self._lock:
            while len(crashes) < MAX_ATTEMPTS:
                try:
                    return self._request(source)
                except _Crash as crash:
                    crashes.append(str(crash))
                    self._stop_worker()
                except BaseException:
                    self._stop_worker()  # its reply must not be taken for the next clip's
                    raise
        detail = f"the decoder failed {MAX_ATTEMPTS} times: {crashes[-1]}"
        return ExtractionResult(source.clip_id, Verdict.CRASHED_DECODER, detail, None, Quality())

    def probe(self, path: str) -> float | str:
        """Return the duration in seconds that a file declares, or why there is none.

        Raises:
            OSError: No worker starts.
        """
        with self._lock:
            try:
                header, _ = self._ready_worker().request({"probe": path}, self._timeout_s)
            except _Crash as crash:
                self._stop_worker()
                return f"the decoder failed: {crash}"
            except BaseException:
                self._stop_worker()
                raise
        seconds = header.get("seconds")
        if isinstance(seconds, int | float) and seconds > 0:
            return float(seconds)
        return str(header.get("rejected", "it declares no duration"))

    def _request(self, source: ClipSource) -> ExtractionResult:
        """Send one clip to the worker, started if there is none. Raises _Crash."""
        header, bodies = self._ready_worker().request(asdict(source), self._timeout_s)
        if "os_error" in header:
            number, text, path = header["os_error"]
            raise OSError(number, text, path)
        if "memory" in header:
            raise _Crash(f"out of memory (limit {self._memory_bytes >> 20} MiB)")
        try:
            return protocol.unpack(header, bodies)
        except protocol.ProtocolError as error:
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

    def __init__(self, recipe: Recipe, memory_bytes: int) -> None:
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
            "recipe": recipe.model_dump(mode="json"),
            "memory_bytes": memory_bytes,
            "parent": os.getpid(),
        }
        try:
            header, _ = self.request(settings, START_TIMEOUT_S)
        except _Crash as crash:
            self.kill()
            raise OSError(5, f"the extraction process does not start: {crash}") from crash
        if "ready" not in header:
            self.kill()
            raise OSError(5, "the extraction process does not start: no 'ready' message")

    @property
    def alive(self) -> bool:
        """Return whether the process is running."""
        return self._process.poll() is None

    def request(
        self, header: dict[str, Any], timeout_s: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Send one request and wait for its reply. Raises _Crash."""
        pipe, replies = self._process.stdin, self._process.stdout
        if pipe is None or replies is None:  # for the type checker: both are pipes
            raise _Crash("no pipes")
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._kill_group()

        watchdog = threading.Timer(timeout_s, expire)
        watchdog.daemon = True
        watchdog.start()
        started = time.monotonic()
        try:
            protocol.send(pipe, header)
            reply = protocol.receive(replies)
        except (BrokenPipeError, protocol.ProtocolError) as error:
            reply, broken = None, str(error)
        else:
            broken = "no reply"
        finally:
            watchdog.cancel()
        if expired.is_set():
            took = time.monotonic() - started
            raise _Crash(f"no result after {took:.1f} s (timeout {timeout_s:g} s), killed")
        if reply is None:
            raise _Crash(self._exit_reason() or broken)
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

    def _exit_reason(self) -> str:
        """Describe the exit status and the last line of standard error."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe but did not end"
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - 2000, 0))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f"{name}: {lines[-1]}" if lines else name
