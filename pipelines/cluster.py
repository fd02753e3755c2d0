"""The Dask cluster that work runs on: one started for the command, or one that exists."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from manifests.store import StoreError

# One thread a clip and as many clips as cores: libraries must not start threads of their own.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def connect(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the scheduler at this address, or of a LocalCluster started here.

    workers: processes of the LocalCluster; None takes one a core.
    Raises StoreError when the scheduler does not answer.
    """
    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise StoreError(
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
        "logging.distributed": "error",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers or len(os.sched_getaffinity(0)),
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
