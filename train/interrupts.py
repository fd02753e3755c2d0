"""SIGINT (Ctrl-C) and SIGTERM: finish the current step, then stop."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from avstore.train import dist

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping after this step; press Ctrl-C again to stop immediately\n"


class Interrupted(BaseException):
    """Raised where a signal stops the program.

    Attributes:
        clean: Whether no `SignalHandler.deferred` block was left unfinished.
    """

    def __init__(self, message: str = "stopped", *, clean: bool = True) -> None:
        super().__init__(message)
        self.clean = clean


class SignalHandler:
    """Turns signals into `Interrupted`, between blocks that must not be cut short.

    Attributes:
        received: The last signal, None before any.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._deferred = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Delay the first signal until the block has ended; a second signal interrupts it.

        With several processes no signal waits, because each process would stop at another step
        and then wait for the others.

        Raises:
            Interrupted: At the end of the block, if a signal came.
        """
        self._deferred = not dist.active()
        try:
            yield
        finally:
            self._deferred = False
        if self.received:
            raise Interrupted

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside the block; Python allows it in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: object) -> None:
        again, self.received = self.received, signal.Signals(number)
        if not self._deferred:
            raise Interrupted
        if again:
            raise Interrupted(clean=False)
        os.write(2, _NOTICE)  # sys.stderr may be in the middle of a line
