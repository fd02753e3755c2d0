"""Get a byte range of a remote object by one request, and check that it is the one asked for.

A server that ignores the header Range answers with the whole object. That is noticed by the head of
the answer (HTTP and S3), before the rest is read. Requests are not repeated here, nor by the
clients: `remote_reader` does it.
"""

import errno
import re
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.asyn import sync

from avstore.manifests.shard_reader import ReadError

_S3 = ("s3", "s3a")
_HTTP = ("http", "https")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")
# Answers of HTTP that may be others the next time: timeout, too early, too many requests.
_PASSING = (408, 425, 429)
# What s3fs makes of answers 4xx and 501, beside PermissionError.
_FINAL_ERRNOS = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EMSGSIZE, errno.ENAMETOOLONG)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


def open_file_system(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system of a store and the store's root on it; S3 without its own retries.

    s3fs would repeat a request up to 25 times, and botocore each of these up to 5 times.
    """
    if url.split("://", 1)[0] not in _S3:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
        return found
    config = {"retries": {"total_max_attempts": 1}, **options.get("config_kwargs", {})}
    # An instance of its own: others of this process keep their retries.
    own = {**options, "config_kwargs": config, "skip_instance_cache": True}
    fs, root = fsspec.core.url_to_fs(url, **own)
    fs.retries = 1
    return fs, root


def get_range(fs: Any, path: str, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of an object; fewer if the answer broke off.

    Args:
        fs: File system of `open_file_system`.
        path: Path on it.
        start: First byte.
        stop: End of the range, exclusive.

    Raises:
        ReadError: The answer is final: no such object, no access, or not the range.
        ConnectionError: Another request may succeed; so for OSError and TimeoutError.
    """
    try:
        content = _get(fs, path, start, stop)
    except ReadError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"the shard does not exist: {error}; run avstore verify") from error
    except Exception as error:  # each protocol's client has its own errors
        if _is_denied(error):
            raise ReadError(
                f"access to the shard is denied: {_line(error)}; check the credentials and the "
                "rights to read the store"
            ) from error
        if _is_final(error):
            raise ReadError(f"the server refuses to send the shard: {_line(error)}") from error
        if isinstance(error, OSError):
            raise
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    if len(content) > stop - start:
        raise _ignored(start, stop)
    return content


def _get(fs: Any, path: str, start: int, stop: int) -> bytes:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    if set(protocols) & set(_HTTP):
        content: bytes = sync(fs.loop, _get_http, fs, path, start, stop)
    elif set(protocols) & set(_S3):
        content = sync(fs.loop, _get_s3, fs, path, start, stop)
    else:
        content = fs.cat_file(path, start=start, end=stop)
    return content


async def _get_http(fs: Any, url: str, start: int, stop: int) -> bytes:
    headers = {**fs.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={start}-{stop - 1}"
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as answer:
        if answer.status == 404:
            raise FileNotFoundError(url)
        answer.raise_for_status()
        stated, length = answer.headers.get("Content-Range"), answer.content_length
        _require_range(answer.status, stated, length, start, stop)
        content: bytes = await answer.read()
    return content


async def _get_s3(fs: Any, path: str, start: int, stop: int) -> bytes:
    bucket, key, version = fs.split_path(path)
    named = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
    answer = await fs._call_s3("get_object", **named, Range=f"bytes={start}-{stop - 1}")
    try:
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        _require_range(status, answer.get("ContentRange"), answer["ContentLength"], start, stop)
        content: bytes = await answer["Body"].read()
    finally:
        answer["Body"].close()
    return content


def _require_range(
    status: int, stated: str | None, length: int | None, start: int, stop: int
) -> None:
    """Raise ReadError unless the answer is of this range, or of its beginning."""
    if status == 200 and (start, stop) == (0, length):
        return  # all of the object was asked for
    found = _CONTENT_RANGE.fullmatch(stated or "")
    first, last = (int(found[1]), int(found[2])) if found else (-1, -1)
    if status != 206 or first != start or last >= stop:
        raise _ignored(start, stop)


def _ignored(start: int, stop: int) -> ReadError:
    return ReadError(
        f"the server did not send bytes {start} to {stop} when asked for them alone (header Range):"
        " shards need a server or proxy with byte ranges",
        start,
    )


def _is_denied(error: Exception) -> bool:
    return (
        isinstance(error, PermissionError)
        or getattr(error, "status", None) in (401, 403, 407)
        or type(error).__name__ in _NO_CREDENTIALS
    )


def _is_final(error: Exception) -> bool:
    """Return whether another request would be answered alike."""
    if isinstance(error, OSError) and error.errno in _FINAL_ERRNOS:
        return True
    status = getattr(error, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in _PASSING


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
