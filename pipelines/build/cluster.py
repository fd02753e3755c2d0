"""Run jobs on a Dask cluster, started here or already running, and report their progress."""

import asyncio
import logging
import os
import resource
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing.spawn import get_executable
from typing import TYPE_CHECKING, Any, TypeVar

from avstore.manifests.errors import memory_hint
from avstore.manifests.signals import out_of_reach
from avstore.pipelines.fetch.source import MachineError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

_LOG = logging.getLogger(__name__)
_LOOPBACK = "127.0.0.1"
_CONNECT_TIMEOUT_S = 10
_TRIAL_TIMEOUT_S = 60.0
_FILES = 256  # open files that a cluster of a few workers needs, with a margin
Job = TypeVar("Job")
_JOBS_PER_WORKER = 2  # one runs and one waits, so that no worker waits for the driver
# One thread per clip and one clip per core: libraries must not start threads too.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def connect(scheduler: str | None, workers: int | None) -> "Iterator[Client]":
    """Connect to a Dask scheduler, or start a LocalCluster and connect to it.

    The LocalCluster listens on loopback and requires TLS with a key that exists only in this
    process and its workers: whoever can talk to a scheduler or a worker can run code in it.

    Args:
        scheduler: Address of a running scheduler; None starts a LocalCluster.
        workers: Processes of the LocalCluster (default: one per core).

    Raises:
        MachineError: The scheduler does not answer, no worker starts, or the scheduler is lost
            while the block runs.
    """
    # Takes half a second to load, and commands that only query the manifest do not need it.
    import dask  # noqa: PLC0415

    with dask.config.set({"logging.distributed": "error"}):  # read while distributed is imported
        from distributed import Client  # noqa: PLC0415
        from distributed.utils import silence_logging_cmgr  # noqa: PLC0415

    with ExitStack() as stack:
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))  # avstore says it in one line
        stack.enter_context(_silent("asyncio"))
        stack.enter_context(_losses_as_machine_errors(scheduler))
        if scheduler:
            client = stack.enter_context(_connect_to(scheduler))
        else:
            client = stack.enter_context(Client(stack.enter_context(_local_cluster(workers))))
        yield client


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Log nothing below CRITICAL by a logger, which may have no handler of its own."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        found.setLevel(before)


def check_scheduler(scheduler: str) -> None:
    """Connect to a scheduler and disconnect, before work that would be in vain.

    Raises:
        MachineError: The scheduler does not answer.
    """
    with connect(scheduler, None) as client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            _LOG.warning("the Dask scheduler at %s has no workers yet", scheduler)


def _connect_to(scheduler: str) -> "Client":
    """Return a client of a running scheduler; MachineError where none answers in time."""
    from distributed import Client  # noqa: PLC0415 -- see connect

    try:
        asyncio.run(asyncio.wait_for(_greet(scheduler), _CONNECT_TIMEOUT_S))
        return Client(scheduler, timeout=f"{_CONNECT_TIMEOUT_S}s")
    except Exception as error:  # whatever another server's answer makes of Dask's protocol
        reason = str(error) or "no answer in time"
        if isinstance(error, TypeError) and scheduler.startswith("tls:"):
            reason = (
                "this address needs a certificate: set distributed.comm.tls in Dask's "
                "configuration, see docs/fetching.md#clusters"
            )
        raise MachineError(
            f"no Dask scheduler answers at {scheduler!r} ({reason}); start one "
            "(dask scheduler), or omit --scheduler to run on this machine"
        ) from error


async def _greet(scheduler: str) -> None:
    """Exchange greetings: `Client` waits for ever where a server accepts and says nothing."""
    from distributed.core import connect as open_comm  # noqa: PLC0415 -- see connect
    from distributed.security import Security  # noqa: PLC0415

    credentials = Security().get_connection_args("client")
    comm = await open_comm(scheduler, timeout=_CONNECT_TIMEOUT_S, **credentials)
    await comm.close()


@contextmanager
def _local_cluster(workers: int | None) -> "Iterator[LocalCluster]":
    import dask  # noqa: PLC0415 -- see connect
    from distributed import LocalCluster  # noqa: PLC0415
    from distributed.security import Security  # noqa: PLC0415

    settings = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREAD_VARIABLES, "1"),
        "distributed.admin.tick.limit": "60s",
        # Schedulers and workers always open a port for HTTP, without authentication. No pages.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with dask.config.set(settings), ExitStack() as stack:
        with out_of_reach(), _starting():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers or len(os.sched_getaffinity(0)),
                    threads_per_worker=1,
                    processes=True,
                    host=_LOOPBACK,
                    protocol="tls://",
                    security=Security.temporary(),
                    dashboard_address=f"{_LOOPBACK}:0",
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                    preload=["avstore.pipelines.build.worker_preload"],
                )
            )
        yield cluster


@contextmanager
def _losses_as_machine_errors(scheduler: str | None) -> Iterator[None]:
    """Raise MachineError where the connection to the scheduler, or a job's workers, are lost."""
    from distributed.client import ClosedClientError, FutureCancelledError  # noqa: PLC0415
    from distributed.comm import CommClosedError  # noqa: PLC0415
    from distributed.scheduler import KilledWorker  # noqa: PLC0415

    name = f"at {scheduler}" if scheduler else "of this build"
    try:
        yield
    except (ClosedClientError, CommClosedError, FutureCancelledError) as error:
        remedy = "start it again" if scheduler else "check that this machine has free memory"
        raise MachineError(
            f"the Dask scheduler {name} was lost; finished shards are kept; {remedy}, "
            "then run the same command again"
        ) from error
    except KilledWorker as error:
        raise MachineError(
            f"{error.task}: the worker process died {error.allowed_failures + 1} times while "
            "computing it; finished shards are kept; check that the workers have free memory, "
            "then run the same command again (fewer --workers need less)"
        ) from error


@contextmanager
def _starting() -> Iterator[None]:
    """Raise MachineError where the local cluster does not start."""
    interpreter = os.fsdecode(get_executable())
    if not os.access(interpreter, os.X_OK):
        raise MachineError(
            f"the local cluster does not start: this user may not execute {interpreter}, with "
            "which its workers start; install avstore with an interpreter that this user may "
            "execute"
        )
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # Dask wraps what its workers raised
        reason = str(error).rstrip(".")
        raise MachineError(f"the local cluster does not start: {reason}{_start_hint()}") from error


def _start_hint() -> str:
    """Return why no worker starts, as far as it shows, and what to do: a nanny does not say it."""
    if hint := memory_hint():
        return hint
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < _FILES:
        return f"; the limit on open files is {files} (ulimit -n): raise it to {_FILES}"
    interpreter = os.fsdecode(get_executable())
    command = [interpreter, "-c", "import distributed"]
    try:
        tried = subprocess.run(
            command, capture_output=True, check=False, timeout=_TRIAL_TIMEOUT_S, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"; a worker's interpreter does not run: {error}"
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        return f"; {interpreter} cannot import distributed: {said}"
    return "; check that this machine has free memory and processes (fewer --workers need less)"


def completed(
    client: "Client", submit: Callable[[Job], "Future[Any]"], jobs: Iterable[Job]
) -> Iterator[Any]:
    """Submit jobs, a few per worker ahead of the results, and yield each result as it arrives.

    Args:
        client: The Dask cluster.
        submit: Submits one job.
        jobs: The jobs, in order of submission.

    Raises:
        Exception: What a worker raised.
    """
    from distributed import as_completed  # noqa: PLC0415 -- see connect

    queue = iter(jobs)
    window = _JOBS_PER_WORKER * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    running = as_completed([submit(job) for job in islice(queue, window)])
    for future in running:
        result = future.result()
        future.release()
        for job in islice(queue, 1):
            running.add(submit(job))
        yield result
