"""Prepare a Dask worker process of a local cluster; Dask imports this module when it starts."""

import atexit
import os


def dask_setup(_worker: object) -> None:
    """Let the process end without the messages of extension modules.

    DuckDB's binding counts what other libraries still refer to as leaked, thirty lines between the
    lines of the command.
    """
    atexit.register(_discard_errors)


def _discard_errors() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
