"""Keep Ctrl-C and SIGTERM from threads and processes that are being started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any


@contextmanager
def out_of_reach() -> Iterator[None]:
    """Start threads and processes that never receive Ctrl-C, which a terminal sends to all of them.

    This process stops them instead. Signals that it receives in the block are raised at its end.
    """
    resource_tracker.ensure_running()  # if started later, it would unblock the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    received: list[int] = []
    before = _handled(lambda number, _frame: received.append(number))  # a thread may get it
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number in received:
            signal.raise_signal(number)


def _handled(by: Any) -> dict[int, Any]:
    """Replace the handlers and return the earlier ones; only the main thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, by) for number in (signal.SIGINT, signal.SIGTERM)}
