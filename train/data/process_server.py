"""Fork processes from a server that has imported what they need.

This is what `multiprocessing`'s fork server does, which all libraries of a process share: if
another one started it first, or if a module is found on the caller's path only, nothing is imported
beforehand, and each process imports torch by itself. Processes inherit no threads, no GPU and no
memory of the calling process.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import spawn
from multiprocessing.connection import Connection

from avstore.manifests.signals import out_of_reach

_COMMAND = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from avstore.train.data.process_server import serve
from {module} import {function}
serve(int(sys.argv[1]), {function})
"""
_START = 0  # a request to start a process; any other number is the process to end
_WORD = 8  # bytes of a request and of its answer
# Seconds in which a process may end by itself.
_GRACE_S = 0.2
_RAN = -1000  # the answer about a process that ran until it was ended here


class ProcessServer:
    """A server of processes that run one function; they end with the server.

    It takes seconds until the server has imported the function's module. `start` does not wait.

    Args:
        module: Name of the module of the function.
        function: Function that each process runs, with the handle of its connection.
    """

    def __init__(self, module: str, function: str) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs, out_of_reach():
            command = _COMMAND.format(module=module, function=function)
            handle, path = str(theirs.fileno()), json.dumps(sys.path)
            self._process = subprocess.Popen(
                [spawn.get_executable(), "-c", command, handle, path],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process.poll() is None

    def start(self) -> "Connection":
        """Start a process and return the connection to it. Raise OSError if the server ended."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._control, [_word(_START)], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return Connection(ours.detach())

    def end(self, process: int) -> str:
        """End a process and say how it ended, such as "was killed by signal 9"."""
        code = None
        with self._lock, suppress(OSError):
            self._control.sendall(_word(process))
            code = int.from_bytes(self._control.recv(_WORD), "little", signed=True)
        if code is None:
            return "ended with the process that had started it"
        if code == _RAN:
            return "did not answer"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def close(self) -> None:
        """End the server and all its processes."""
        self._control.close()
        self._process.wait()

    def forget(self) -> None:
        """Close this process's connection, after a fork: the server belongs to the parent."""
        self._control.close()
        self._process.returncode = 0  # another process's child is not waited for


def serve(handle: int, run: Callable[[int], None]) -> None:
    """Start and end processes on request, until the calling process ends; for the server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the calling process decides
    with socket.socket(fileno=handle) as control:
        # Objects of imports are never freed, so looking through them again only costs time.
        gc.collect()
        gc.freeze()
        children = set[int]()
        with suppress(OSError):
            while request := _next(control):
                number, handles = request
                if number == _START:
                    children.add(_fork(run, handles[0], control))
                else:
                    control.sendall(_word(_end(number)))
                    children.discard(number)
        for child in children:
            _end(child)
    os._exit(0)  # what was frozen would be reported as leaked


def _next(control: socket.socket) -> tuple[int, list[int]] | None:
    """Return the next request and its handles; None once the calling process has ended."""
    message, handles, _, _ = socket.recv_fds(control, _WORD, 1)
    return (int.from_bytes(message, "little", signed=True), handles) if message else None


def _fork(run: Callable[[int], None], handle: int, control: socket.socket) -> int:
    """Return the number of a new process that runs the function."""
    child = os.fork()
    if child:
        os.close(handle)
        return child
    code = 1
    try:
        control.close()
        run(handle)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(process: int) -> int:
    """Return the exit code of a process; if it does not end by itself, kill it and return _RAN.

    One whose connection was closed, or that was killed, takes a moment to end.
    """
    until = time.monotonic() + _GRACE_S
    while time.monotonic() < until:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return _RAN


def _word(number: int) -> bytes:
    return number.to_bytes(_WORD, "little", signed=True)
