"""Extraction where a decoder's crash or hang costs one clip, not the run.

A child process in its own process group does the work and is kept from clip to clip. It is
killed, group and all, when a clip takes too long; a clip that kills or hangs it twice gets the
verdict `crashed_decoder`.
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
from avstore.pipelines.extract import protocol as wire
from avstore.pipelines.extract.recipe import Recipe, require_decoder
from avstore.pipelines.extract.records import Extracted, Quality, Source

TIMEOUT_S = 120.0
MEMORY_BYTES = 4 << 30
START_S = 60.0
TRIES = 2


CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Keep freed memory from frame to frame: glibc would return it, and fault it in again.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_TOP_PAD_": str(1 << 24),
}


class _Crash(Exception):  # noqa: N818 - a fact about the child, handled here
    """The child died, hung, ran out of memory or talked nonsense: which, in words."""


class Sandbox:
    """A child process that extracts clips by one recipe. One clip at a time; thread-safe.

    timeout_s: seconds a clip may take. memory_bytes: address space of the child (0: no limit).
    Raises RecipeError where the recipe's decoder is not installed.
    """

    def __init__(
        self, recipe: Recipe, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        require_decoder(recipe)
        self._recipe = recipe
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._child: _Child | None = None
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
        """End the child. The sandbox may be used again: it starts another."""
        with self._lock:
            self._drop()

    def extract(self, source: Source) -> Extracted:
        """What `extract_clip` gives, or the verdict `crashed_decoder` after the second crash.

        Raises:
            OSError: the file or the machine failed, not the clip; also where no child starts.
        """
        crashes: list[str] = []
        with self._lock:
            while len(crashes) < TRIES:
                try:
                    return self._ask(source)
                except _Crash as crash:
                    crashes.append(str(crash))
                    self._drop()
                except BaseException:
                    self._drop()  # a reply may be on its way that nobody will read
                    raise
        detail = f"the decoder failed {TRIES} times: {crashes[-1]}"
        return Extracted(source.clip_id, Verdict.CRASHED_DECODER, detail, None, Quality())

    def _ask(self, source: Source) -> Extracted:
        if self._child is not None and not self._child.alive:
            self._drop()  # it died between two clips, which is neither's fault
        if self._child is None:
            self._child = _Child(self._recipe, self._memory_bytes)
        header, bodies = self._child.ask(asdict(source), self._timeout_s)
        if "os_error" in header:
            number, text, path = header["os_error"]
            raise OSError(number, text, path)
        if "memory" in header:
            raise _Crash(f"out of memory (limit {self._memory_bytes >> 20} MiB)")
        try:
            return wire.unpack(header, bodies)
        except wire.WireError as error:
            raise _Crash(f"its reply was {error}") from error

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One child process, its pipes, and its last words."""

    def __init__(self, recipe: Recipe, memory_bytes: int) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            **CHILD_ENVIRONMENT,
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
            header, _ = self.ask(settings, START_S)
        except _Crash as crash:
            self.kill()
            raise OSError(5, f"the extraction process does not start: {crash}") from crash
        if "ready" not in header:
            self.kill()
            raise OSError(5, "the extraction process does not start: no greeting")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, header: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        """Send one request and wait for its reply. Raises _Crash."""
        pipe, replies = self._process.stdin, self._process.stdout
        if pipe is None or replies is None:  # cannot be: both were asked for
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
            wire.send(pipe, header)
            reply = wire.receive(replies)
        except (BrokenPipeError, wire.WireError) as error:
            reply, broken = None, str(error)
        else:
            broken = "no reply"
        finally:
            watchdog.cancel()
        if expired.is_set():
            took = time.monotonic() - started
            raise _Crash(f"no result after {took:.1f} s (timeout {timeout_s:g} s), killed")
        if reply is None:
            raise _Crash(self._how_it_ended() or broken)
        return reply

    def kill(self) -> None:
        """End the process and everything it started, and collect it."""
        self._kill_group()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(BrokenPipeError):  # an unsent request that nobody will read
                    stream.close()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):  # gone already
            os.killpg(self._process.pid, signal.SIGKILL)

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe and went on running"
        name = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - 2000, 0))
        words = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f"{name}: {words[-1]}" if words else name
