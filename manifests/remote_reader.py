"""Shards elsewhere (S3, HTTP, any fsspec URL): ranges in parallel, ahead of time, tried again."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from avstore.manifests.block_cache import BlockCache
from avstore.manifests.shard_reader import ReadError, Shard

# Between remote ranges this near, the bytes between cost less than another request.
GAP_BYTES = 256 << 10
# A longer range is asked for in parts, side by side.
PART_BYTES = 8 << 20
CONNECTIONS = 24
ATTEMPTS = 6


class _TornError(OSError):
    """A range that came short."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, stop) of a shard."""

    shard: Shard
    start: int
    stop: int


class RemoteReader:
    """Reads ranges of objects. What was announced by `expecting` is on its way already.

    url: the store's; options: for fsspec; cache: blocks kept on the local disk, or None.
    A broken connection, a time-out or a short answer is tried again, with growing waits.
    """

    gap = GAP_BYTES
    chunk = PART_BYTES

    def __init__(self, url: str, options: dict[str, Any], cache: BlockCache | None = None) -> None:
        self._fs, root = fsspec.core.url_to_fs(url, **options)
        self._root = root.rstrip("/")
        self._cache = cache
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="ranges")
        self._expected: list[tuple[Span, list[Future[bytes]]]] = []
        self._lock = threading.Lock()

    def read(self, shard: Shard, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset + size). Raises ReadError where they cannot be had whole."""
        stop = offset + size
        with self._lock:
            held = next(
                (
                    (span, futures)
                    for span, futures in self._expected
                    if span.shard.path == shard.path and span.start <= offset and stop <= span.stop
                ),
                None,
            )
        span, futures = held or (Span(shard, offset, stop), self._ask(Span(shard, offset, stop)))
        return _slice(span, [future.result() for future in futures], offset, stop)

    @contextmanager
    def expecting(self, spans: Sequence[Span]) -> Iterator[None]:
        """Fetch these spans side by side; hold them while the block runs."""
        asked = [(span, self._ask(span)) for span in merged(spans, self.gap)]
        with self._lock:
            self._expected += asked
        try:
            yield
        finally:
            with self._lock:
                self._expected = [held for held in self._expected if held not in asked]
            for _, futures in asked:
                for future in futures:
                    future.cancel()

    def renew(self, shard: Shard, start: int, stop: int) -> bool:
        """Drop what is cached of these bytes; whether there was anything."""
        if self._cache is None or not shard.sha256:
            return False
        with self._lock:
            self._expected = [held for held in self._expected if held[0].shard.path != shard.path]
        return self._cache.drop(shard.sha256, start, stop)

    def _ask(self, span: Span) -> list[Future[bytes]]:
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
        except FileNotFoundError as error:
            raise ReadError(f"the shard is not there: {error}") from error
        except RetryError as error:
            reason = error.last_attempt.exception()
            raise ReadError(
                f"bytes {start} to {stop} cannot be had after {ATTEMPTS} tries: {reason}", start
            ) from error

    def _fetch_once(self, shard: Shard, start: int, stop: int) -> bytes:
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/{shard.path}", start=start, end=stop)
        except FileNotFoundError as error:
            raise ReadError(f"the shard is not there: {error}; run avstore verify") from error
        except (OSError, TimeoutError):
            raise
        except Exception as error:  # each protocol's client has errors of its own
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        if len(content) != stop - start:
            raise _TornError(f"{len(content)} bytes came instead of {stop - start}")
        return content

    def close(self) -> None:
        """Drop what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def merged(spans: Sequence[Span], gap: int) -> list[Span]:
    """Fewer spans that cover these: near ones of a shard become one."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.shard.path, span.start)):
        last = out[-1] if out else None
        if last and last.shard.path == span.shard.path and span.start - last.stop <= gap:
            out[-1] = Span(last.shard, last.start, max(last.stop, span.stop))
        else:
            out.append(span)
    return out


def _slice(span: Span, parts: list[bytes], start: int, stop: int) -> memoryview:
    """Bytes [start, stop) of a span that came in parts."""
    first = (start - span.start) // PART_BYTES
    last = (max(stop, start + 1) - 1 - span.start) // PART_BYTES
    whole = b"".join(parts[first : last + 1])
    at = start - span.start - first * PART_BYTES
    return memoryview(whole)[at : at + stop - start]
