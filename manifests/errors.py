"""What failed, in one line for the person who reads it."""

import errno


def describe_os_error(error: OSError) -> str:
    """Where, what, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    todo = "; free some space and run the same command again" * (error.errno == errno.ENOSPC)
    return f"{where}{error.strerror or error}{todo}"


# Clients of object stores have errors of their own, without a common base.
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs")


def is_client_error(error: BaseException) -> bool:
    """Whether the error is one of an object store's client: credentials, address, network."""
    return type(error).__module__.split(".")[0] in _CLIENTS


def first_sentence(error: BaseException) -> str:
    """Of libraries that go on for paragraphs, some with advice that is not ours."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ", 1)[0]
