"""Lend worker processes to passes over batches; they live on from pass to pass.

A pass takes a pool that no other pass uses, whatever list or `Loader` it served before, or makes a
new one. So a loop over epochs or tasks starts its workers once.
"""

import atexit
import os
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle

from avstore.manifests.errors import first_sentence
from avstore.manifests.store import StoreError
from avstore.train.data.batch import Batch
from avstore.train.data.process_server import ProcessServer
from avstore.train.data.shared_batches import PackedBatch, Slots, anonymous_file, bytes_of
from avstore.train.data.spec import BatchSpec
from avstore.train.data.steps import Steps
from avstore.train.data.worker_process import (
    Failure,
    Load,
    NewSlots,
    NewSteps,
    Rest,
    Rested,
    Started,
    in_worker,
    main_module,
)

# Batches that each worker loads before they are asked for.
AHEAD = 2
# Batches that the caller may hold before others are copied.
HELD = 3
# Slots are made again if a batch needs less than this part of them.
_SMALL = 0.25
# Seconds to wait for a worker that finishes a batch which nobody waits for any more.
_REST_S = 30.0


class LoaderError(StoreError):
    """A worker process died, hung or could not start; the data may be intact.

    The run can continue from the step that the error names.

    Example:
        >>> loader = Loader(samples, BatchSpec(batch_size=12, frames=1, image_size=24))
        >>> try:
        ...     for batch in loader:
        ...         pass
        ... except LoaderError as error:
        ...     state = loader.state_dict()
    """


@dataclass(eq=False)
class _Worker:
    """A worker process, as the process sees it that asks it for batches.

    Attributes:
        server: The server that forked it.
        connection: The connection to it.
        process: Its number; 0 until it has started.
        slots: The slots that it knows.
        resting: Whether it was asked to rest and has not answered.
        ended: How it ended; "" if it runs or never started.
    """

    server: ProcessServer
    connection: "Connection"
    process: int = 0
    slots: Slots | None = None
    resting: bool = False
    ended: str = ""

    def send_file(self, message: object, handles: list[int]) -> None:
        """Send a message that files follow."""
        self.connection.send(message)
        for handle in handles:
            send_handle(self.connection, handle, self.process)

    def receive(self, timeout_s: float) -> PackedBatch | Failure | Rested:
        """Return its next answer. Raise TimeoutError, or EOFError or OSError if it ended."""
        if not self.connection.poll(timeout_s):
            raise TimeoutError
        message: Started | PackedBatch | Failure | Rested = self.connection.recv()
        if isinstance(message, Started):
            self.process = message.process
            return self.receive(timeout_s)
        return message

    def end(self) -> str:
        """End it, if it runs, and say how it ended."""
        self.connection.close()
        if self.process and not self.ended:
            self.ended = self.server.end(self.process)
        return self.ended


class WorkerPool:
    """Worker processes and the slots that they write batches to; one pass uses it at a time."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._slots = Slots(0, 0)
        self._fitting: BatchSpec | None = None  # settings whose batches fit the slots
        self.intact = True  # whether no message was left half sent or half received
        _POOLS.add(self)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Mark the pool as not intact, unless the block ends without an exception."""
        self.intact = False
        yield
        self.intact = True

    def begin(self, steps: Steps, workers: int) -> None:
        """Give the steps to as many workers; start those that are lacking."""
        with self._exchange():
            for worker in list(self._workers):
                self._await_rest(worker)
            self._slots.give_back_all()
            while len(self._workers) < workers:
                self._workers.append(_start_worker())
            self._send_steps(steps, workers)

    def _await_rest(self, worker: _Worker) -> None:
        """Wait until a worker has ended its last pass; leave it out if it does not."""
        until = time.monotonic() + _REST_S
        try:
            while worker.resting:
                answer = worker.receive(max(until - time.monotonic(), 0))
                worker.resting = not isinstance(answer, Rested)
            if worker.connection.poll():  # nothing but its end can follow
                raise EOFError
        except (OSError, EOFError):  # TimeoutError is an OSError
            self._workers.remove(worker)
            worker.end()

    def _send_steps(self, steps: Steps, workers: int) -> None:
        content = pickle.dumps(steps, pickle.HIGHEST_PROTOCOL)
        message = NewSteps(len(content), main_module() if b"__main__" in content else {})
        handle = anonymous_file(len(content))
        try:
            os.pwrite(handle, content, 0)
            for worker in self._workers[:workers]:
                with suppress(OSError):  # it ended; `ask` or `receive` says so
                    worker.send_file(message, [handle])
        finally:
            os.close(handle)

    def fits(self, spec: BatchSpec, count: int) -> bool:
        """Return whether there are `count` slots for the batches of these settings."""
        return self._fitting == spec and (self._slots.count >= count or not self._slots.size)

    def fit(self, batch: Batch, spec: BatchSpec, count: int) -> None:
        """Make `count` slots for batches such as this one."""
        size = bytes_of(batch)
        kept = self._slots
        if not (kept.count >= count and size <= kept.size and kept.size * _SMALL <= size):
            self._slots.close_handles()
            self._slots = Slots(count if size else 0, size)
        self._fitting = spec

    def ask(self, number: int, step: int) -> None:
        """Ask a worker for the batch of a step. Raise LoaderError if it ended."""
        worker = self._workers[number]
        with self._exchange():
            try:
                if worker.slots is not self._slots:
                    message = NewSlots(self._slots.count, self._slots.size)
                    worker.send_file(message, self._slots.handles)
                    worker.slots = self._slots
                worker.connection.send(Load(step, self._slots.take()))
            except OSError as error:
                raise _ended(worker, step, error) from error

    def receive(self, number: int, step: int, timeout_s: float) -> Batch:
        """Return a worker's next batch, which is of this step.

        Raises:
            StoreError: If a sample cannot be read and the policy is to raise.
            LoaderError: If the worker ended, does not answer, or cannot import what it is given.
        """
        worker = self._workers[number]
        with self._exchange():
            try:
                answer = worker.receive(timeout_s)
            except (OSError, EOFError) as error:
                raise _ended(worker, step, error) from error
        if isinstance(answer, Failure):
            raise _raised(answer)
        assert isinstance(answer, PackedBatch)
        if not answer.fits:
            self._fitting = None
        return self._slots.unpack(answer)

    def rest(self) -> None:
        """Let the workers end what they do, and forget the steps."""
        with self._exchange():
            for worker in self._workers:
                worker.resting = True
                with suppress(OSError):  # it ended; the next pass notices
                    worker.connection.send(Rest())

    def close(self) -> None:
        """End the workers."""
        workers = self._workers
        self.disconnect()  # those that wait end by themselves
        for worker in workers:
            worker.end()

    def disconnect(self) -> None:
        """Close connections and files."""
        for worker in self._workers:
            worker.connection.close()
        self._workers = []
        self._slots.close_handles()


@contextmanager
def lent_pool() -> Iterator[WorkerPool]:
    """Lend a pool for the block; keep it for the next one, unless an error damaged it."""
    with _LOCK:
        pool = _IDLE.pop() if _IDLE else WorkerPool()
    try:
        yield pool
    finally:
        if pool.intact:
            pool.rest()
            with _LOCK:
                _IDLE.append(pool)
        else:
            pool.close()


def _start_worker() -> _Worker:
    if in_worker():
        raise LoaderError(
            "a loader process was asked to start others: load without workers there; a script "
            'that defines the class of its order needs `if __name__ == "__main__":`'
        )
    try:
        with _LOCK:
            if not _SERVERS or not _SERVERS[-1].alive:
                _SERVERS[:] = [ProcessServer(_MODULE, "work")]
            server = _SERVERS[-1]
        return _Worker(server, server.start())
    except OSError as error:
        raise LoaderError(f"loader processes could not be started: {error}") from error


def _ended(worker: _Worker, step: int, error: Exception) -> LoaderError:
    """Return the error of a worker that ended or hangs."""
    how = worker.end()
    if isinstance(error, TimeoutError):
        how = "did not answer"
    if not worker.process:
        return LoaderError(
            "loader processes could not be started: the process that starts them ended, and "
            "printed why; use workers=0 to load in this process"
        )
    return LoaderError(
        f"loader process {worker.process} {how} before step {step}; out of memory? Use fewer "
        "workers or smaller batches; the run can go on from this step"
    )


def _raised(failure: Failure) -> Exception:
    """Return the exception to raise for a failure."""
    error = failure.error
    if isinstance(error, StoreError) and not failure.imports:
        return error  # says what to do
    error.add_note(f"In a loader process:\n{failure.trace}")
    if not failure.imports:
        return error
    wrapped = LoaderError(
        "loader processes cannot import the order or dataset that they are given "
        f"({first_sentence(error)}). Define its class in a module of its own (not in a notebook, "
        'on standard input, or in a script without `if __name__ == "__main__":`), or load without '
        "workers"
    )
    wrapped.__cause__ = error
    return wrapped


_MODULE = "avstore.train.data.worker_process"
_SERVERS: list[ProcessServer] = []  # one at most
_IDLE: list[WorkerPool] = []
_POOLS: "weakref.WeakSet[WorkerPool]" = weakref.WeakSet()
_LOCK = threading.Lock()


def _end_all() -> None:
    """End all workers, and wait for them."""
    for pool in list(_POOLS):
        pool.disconnect()
    for server in _SERVERS:
        server.close()


def _forget_after_fork() -> None:
    """Close what belongs to the parent: a forked process starts workers of its own."""
    global _LOCK  # noqa: PLW0603 -- one for the process
    _LOCK = threading.Lock()
    for pool in list(_POOLS):
        pool.disconnect()
    for server in _SERVERS:
        server.forget()
    _SERVERS.clear()
    _IDLE.clear()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
