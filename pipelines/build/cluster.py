"""Run jobs on a Dask cluster, started here or already running, and report their progress."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from avstore.manifests.errors import memory_hint
from avstore.manifests.signals import out_of_reach
from avstore.pipelines.fetch.source import MachineError

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
_JOBS_PER_WORKER = 2  # one runs and one waits, so that no worker waits for the driver
# One thread per clip and one clip per core: libraries must not start threads too.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Progress(Protocol):
    """Shows the progress of one stage of work, such as a progress bar of the CLI."""

    def __call__(
        self, title: str, total: int, unit: str = ...
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Open a display of `total` steps; the context yields a function that adds done steps."""
        ...


@contextmanager
def no_progress(title: str, total: int, unit: str = "clips") -> Iterator[Callable[[int], None]]:
    """Show nothing: the default `Progress`."""
    yield lambda steps: None


@contextmanager
def connect(scheduler: str | None, workers: int | None) -> "Iterator[Client]":
    """Connect to a Dask scheduler, or start a LocalCluster and connect to it.

    Args:
        scheduler: Address of a running scheduler; None starts a LocalCluster.
        workers: Processes of the LocalCluster (default: one per core).

    Raises:
        MachineError: The scheduler does not answer, or no worker starts.
    """
    # Takes half a second to load, and commands that only query the manifest do not need it.
    import dask  # noqa: PLC0415

    with dask.config.set({"logging.distributed": "error"}):  # read while distributed is imported
        from distributed import Client, LocalCluster  # noqa: PLC0415

    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise MachineError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); start one "
                "(dask scheduler), or omit --scheduler to run on this machine"
            ) from error
        with client:
            yield client
        return
    settings = {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREAD_VARIABLES, "1"),
        "distributed.admin.tick.limit": "60s",
    }
    with dask.config.set(settings), ExitStack() as stack:
        with out_of_reach(), _starting():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers or len(os.sched_getaffinity(0)),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=50,
                )
            )
        yield stack.enter_context(Client(cluster))


@contextmanager
def _starting() -> Iterator[None]:
    """Raise MachineError where the local cluster does not start."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # Dask wraps what its workers raised
        reason = str(error).rstrip(".")
        raise MachineError(f"the local cluster does not start: {reason}{memory_hint()}") from error


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
