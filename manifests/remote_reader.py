"""Read byte ranges of remote shards (S3, HTTP, any fsspec URL): in parallel and with retries."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from avstore.manifests.block_cache import BlockCache
from avstore.manifests.names import is_name, is_relative
from avstore.manifests.ranged_get import get_range, open_file_system
from avstore.manifests.shard_reader import ReadError, Shard, Span

# A gap this small between two remote ranges costs less to read than another request.
GAP_BYTES = 256 << 10
# A longer range is fetched in parts of this size, in parallel.
PART_BYTES = 8 << 20
CONNECTIONS = 24
ATTEMPTS = 6


class _TornError(OSError):
    """A response with fewer bytes than requested; it is retried."""


class RemoteReader:
    """Reads ranges of remote objects; ranges inside `prefetching` spans are already on their way.

    A broken connection, a timeout or a short response is retried with growing waits: here alone,
    the clients do not. A missing object, a denied access or another range is not retried.

    Args:
        url: Root of the store, an fsspec URL.
        options: fsspec options.
        cache: Cache of blocks on the local disk, or None.
    """

    gap = GAP_BYTES
    chunk = PART_BYTES

    def __init__(self, url: str, options: dict[str, Any], cache: BlockCache | None = None) -> None:
        self._fs, root = open_file_system(url, options)
        self._root = root.rstrip("/")
        self._cache = cache
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="ranges")
        self._prefetched: list[tuple[Span, list[Future[bytes]]]] = []
        self._lock = threading.Lock()

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        """Return bytes [offset, offset + size). Raise ReadError if they are not all available."""
        stop = offset + size
        with self._lock:
            held = next(
                (
                    (span, futures)
                    for span, futures in self._prefetched
                    if span.shard.path == shard.path and span.start <= offset and stop <= span.stop
                ),
                None,
            )
        if held is None:
            span = Span(shard, offset, stop)
            held = (span, self._request(span))
        span, futures = held
        return _slice(span, [future.result() for future in futures], offset, stop)

    @contextmanager
    def prefetching(self, spans: Sequence[Span]) -> Iterator[None]:
        """Start fetching these spans in parallel, and hold them while the block runs."""
        requested = [(span, self._request(span)) for span in merged(spans, self.gap)]
        with self._lock:
            self._prefetched += requested
        try:
            yield
        finally:
            with self._lock:
                self._prefetched = [held for held in self._prefetched if held not in requested]
            for _, futures in requested:
                for future in futures:
                    future.cancel()

    def invalidate(self, shard: Shard, start: int, stop: int) -> bool:
        """Drop cached bytes [start, stop); return whether a re-read may differ."""
        if not is_relative(shard.path):
            raise ReadError("the shard is outside of the store; run avstore verify")
        with self._lock:
            self._prefetched = [
                held for held in self._prefetched if held[0].shard.path != shard.path
            ]
        # The digest names the blocks' files.
        if self._cache is not None and is_name("sha256", shard.sha256):
            self._cache.drop(shard.sha256, start, stop)
        return True

    def _request(self, span: Span) -> list[Future[bytes]]:
        return [
            self._pool.submit(self._part, span.shard, start, min(start + PART_BYTES, span.stop))
            for start in range(span.start, span.stop, PART_BYTES)
        ]

    def _part(self, shard: Shard, start: int, stop: int) -> bytes:
        if self._cache is None or not shard.sha256:
            return self._fetch(shard, start, stop)
        return self._cache.read(
            shard.sha256, shard.bytes, start, stop, lambda a, b: self._fetch(shard, a, b)
        )

    def _fetch(self, shard: Shard, start: int, stop: int) -> bytes:
        retrying = Retrying(
            retry=retry_if_exception_type((OSError, TimeoutError, ConnectionError)),
            wait=wait_exponential_jitter(multiplier=0.1, max=5),
            stop=stop_after_attempt(ATTEMPTS),
        )
        try:
            return retrying(self._fetch_once, shard, start, stop)
        except RetryError as error:
            reason = error.last_attempt.exception()
            raise ReadError(
                f"bytes {start} to {stop} could not be read in {ATTEMPTS} attempts: {reason}", start
            ) from error

    def _fetch_once(self, shard: Shard, start: int, stop: int) -> bytes:
        content = get_range(self._fs, f"{self._root}/{shard.path}", start, stop)
        if len(content) != stop - start:
            raise _TornError(f"received {len(content)} bytes instead of {stop - start}")
        return content

    def close(self) -> None:
        """Cancel requests that have not started."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def merged(spans: Sequence[Span], gap: int) -> list[Span]:
    """Merge spans of a shard that are at most `gap` bytes apart."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.shard.path, span.start)):
        last = out[-1] if out else None
        if last and last.shard.path == span.shard.path and span.start - last.stop <= gap:
            out[-1] = Span(last.shard, last.start, max(last.stop, span.stop))
        else:
            out.append(span)
    return out


def _slice(span: Span, parts: list[bytes], start: int, stop: int) -> memoryview:
    """Return bytes [start, stop) of a span that was fetched in parts."""
    first = (start - span.start) // PART_BYTES
    last = (max(stop, start + 1) - 1 - span.start) // PART_BYTES
    whole = b"".join(parts[first : last + 1])
    at = start - span.start - first * PART_BYTES
    return memoryview(whole)[at : at + stop - start]
