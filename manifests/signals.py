"""Ctrl-C and SIGTERM kept from threads and processes that are being started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Threads and processes that are started here never see Ctrl-C, which a terminal sends to all
    of them: this process tells them to stop. It is told itself, of SIGTERM too, when the block
    ends."""
    resource_tracker.ensure_running()  # begun later, it would let the signal through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    came: list[int] = []
    before = _handled(lambda number, _frame: came.append(number))  # another thread may get it
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in came:
            signal.raise_signal(number)


def _handled(by: Any) -> dict[int, Any]:
    """What handled the signals before; Python changes handlers in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, by) for number in (signal.SIGINT, signal.SIGTERM)}
