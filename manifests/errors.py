"""One-line messages for errors of the machine and of libraries."""

import errno
import resource

import duckdb

from avstore.manifests.store import StoreError

BUILD_BYTES = 3 << 30
"""Address space (`ulimit -v`) in which a build was tried on two cores; a process maps much of it
and uses little."""


def describe_os_error(error: OSError) -> str:
    """Return the file, the reason and what to do, in one line."""
    where = f"{error.filename}: " if error.filename else ""
    hint = "; free some space and run the same command again" * (error.errno == errno.ENOSPC)
    hint += memory_hint() * (error.errno == errno.ENOMEM)
    return f"{where}{error.strerror or error}{hint}"


def is_machine_error(error: BaseException) -> bool:
    """Return whether DuckDB raised the error because of the disk or the memory."""
    kinds = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException)
    if isinstance(error, duckdb.TransactionException):
        return "Failed to commit" in str(error)  # the disk is full; other ones are defects
    return isinstance(error, kinds)


# Clients of object stores raise their own errors, which have no common base class.
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs")


def is_client_error(error: BaseException) -> bool:
    """Return whether an object store's client raised the error (credentials, address, network)."""
    return type(error).__module__.split(".")[0] in _CLIENTS


def first_sentence(error: BaseException) -> str:
    """Return an error's first sentence; some libraries raise paragraphs of advice."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ", 1)[0]


def memory_hint() -> str:
    """Return what to do about a limit on the address space; empty without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit < 0:
        return ""
    return (
        f"; the limit on memory is {limit >> 20} MiB (ulimit -v), and a build needs about "
        f"{BUILD_BYTES >> 20} MiB: raise it"
    )


def query_error(error: duckdb.Error) -> StoreError:
    """Return the error of a query with DuckDB's message, and what to do if it was not allowed."""
    hint = ""
    if isinstance(error, duckdb.PermissionException):
        hint = (
            "\nqueries reach the manifest only: pass values as parameters, write rows with avstore "
            "sql --output FILE, or, if you trust query and manifest, use avstore sql --unsafe"
        )
    return StoreError(f"the query failed: {error}{hint}")
