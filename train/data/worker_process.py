"""Load batches in a worker process, as its connection asks for them."""

import os
import pickle
import sys
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import spawn
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import numpy as np
import torch
from numpy.typing import NDArray

from avstore.train.data.shared_batches import PackedBatch, map_memory, pack
from avstore.train.data.steps import Steps

_running_here = False


def in_worker() -> bool:
    """Return whether this process is a worker."""
    return _running_here


@dataclass(frozen=True)
class Started:
    """The first message of a worker."""

    process: int


@dataclass(frozen=True)
class NewSteps:
    """Load from other steps. They follow in a file, which all workers map.

    Attributes:
        size: Bytes of the pickled steps.
        main: How to find the calling script, if they use its classes (see `main_module`).
        path: Where to import from.
        folder: Working folder.
        environment: Environment variables.
    """

    size: int
    main: dict[str, str]
    path: list[str] = field(default_factory=lambda: sys.path)
    folder: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class NewSlots:
    """Write into other slots, whose files follow."""

    count: int
    size: int


@dataclass(frozen=True)
class Load:
    """Load the batch of a step into a slot, or without one."""

    step: int
    slot: int | None


@dataclass(frozen=True)
class Rest:
    """Forget what was asked for, and the steps."""


@dataclass(frozen=True)
class Rested:
    """The answer to `Rest`, after all other answers."""


@dataclass(frozen=True)
class Failure:
    """An exception, and the worker's traceback.

    Attributes:
        error: The exception.
        trace: Its traceback as text.
        imports: Whether the steps could not be unpickled.
    """

    error: Exception
    trace: str
    imports: bool = False


def work(handle: int) -> None:
    """Answer requests until the calling process closes the connection."""
    global _running_here  # noqa: PLW0603 -- one for the process
    _running_here = True
    torch.set_num_threads(1)
    with suppress(EOFError, OSError), Connection(handle) as connection:
        connection.send(Started(os.getpid()))
        _Worker(connection).run()


class _Worker:
    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._asked: deque[Load] = deque()
        self._steps: Steps | Failure | None = None
        self._slots: list[NDArray[np.uint8]] = []

    def run(self) -> None:
        """Load in the order of the requests."""
        while True:
            # All requests are read first: a later one may say that no one waits for the others.
            while not self._asked or self._connection.poll():
                self._take(self._connection.recv())
            self._connection.send(self._load(self._asked.popleft()))

    def _take(self, request: object) -> None:
        match request:
            case Load():
                self._asked.append(request)
            case NewSteps():
                self._steps = self._unpickle(request)
            case NewSlots(count, size):
                self._slots = [
                    map_memory(recv_handle(self._connection), size) for _ in range(count)
                ]
            case Rest():
                self._asked.clear()
                self._steps = None
                self._connection.send(Rested())

    def _unpickle(self, new: NewSteps) -> Steps | Failure:
        content = map_memory(recv_handle(self._connection), new.size)
        sys.path[:] = new.path
        os.environ.clear()
        os.environ.update(new.environment)
        try:
            os.chdir(new.folder)
            spawn.prepare(new.main)  # runs the script, if it was not run here before
            steps: Steps = pickle.loads(content.data)
            return steps
        except Exception as error:
            return _failure(error, imports=True)

    def _load(self, request: Load) -> PackedBatch | Failure:
        steps = self._steps
        if not isinstance(steps, Steps):
            return steps or _failure(RuntimeError("no steps were sent"))
        try:
            return pack(lambda: steps[request.step], self._slots, request.slot)
        except Exception as error:
            return _failure(error)


def _failure(error: Exception, *, imports: bool = False) -> Failure:
    """Return a failure with an exception that can be sent."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, trace, imports)


def main_module() -> dict[str, str]:
    """Return how another process finds the classes of this process's script."""
    found = spawn.get_preparation_data("loader")
    return {name: str(value) for name, value in found.items() if name.startswith("init_main")}
