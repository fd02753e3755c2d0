"""Run jobs on a Dask cluster, started here or already running, and report their progress."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from avstore.manifests.signals import out_of_reach
from avstore.pipelines.fetch.source import MachineError

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
_AHEAD = 2  # jobs queued per worker, so that none waits for the driver
# One thread a clip and as many clips as cores: libraries must not start threads of their own.
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
    """A client of the scheduler at this address, or of a LocalCluster started here.

    workers: processes of the LocalCluster; None takes one a core.
    Raises MachineError when the scheduler does not answer.
    """
    # Half a second to load, which no command need wait for that only asks the manifest.
    import dask  # noqa: PLC0415

    with dask.config.set({"logging.distributed": "error"}):  # read when it is imported
        from distributed import Client, LocalCluster  # noqa: PLC0415

    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise MachineError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); start one "
                "(dask scheduler), or leave --scheduler out to run on this machine"
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
        with out_of_reach():
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


def completed(
    client: "Client", submit: Callable[[Job], "Future[Any]"], jobs: Iterable[Job]
) -> Iterator[Any]:
    """Results of jobs, each as it is done; a few a worker are submitted ahead of that.

    Raises what a worker raised.
    """
    from distributed import as_completed  # noqa: PLC0415 -- see connect

    queue = iter(jobs)
    window = _AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    running = as_completed([submit(job) for job in islice(queue, window)])
    for future in running:
        done = future.result()
        future.release()
        for job in islice(queue, 1):
            running.add(submit(job))
        yield done
