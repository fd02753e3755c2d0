"""Samples of a batch side by side: reading, decoding and converting leave Python's lock."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
# More than this hardly helps: what is Python's own is done by one at a time.
_MOST = 4


def usual_threads(workers: int) -> int:
    """As many as this process may use cores, at most 4; 1 where workers make the batches."""
    if workers:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST)


def over(make: Callable[[int], T], count: int, threads: int) -> Iterable[T]:
    """make(0), make(1), …, in this order, by so many threads."""
    if threads <= 1:
        return map(make, range(count))
    return _pool(threads, os.getpid()).map(make, range(count))


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """This process's pool (a forked one has none of its parent's threads)."""
    return ThreadPoolExecutor(threads, thread_name_prefix="samples")
