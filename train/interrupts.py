"""How a program ends: told to stop (Ctrl-C, SIGTERM) or by an error, with one line and a code."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avstore.manifests.errors import describe_os_error
from avstore.manifests.store import StoreError
from avstore.train import dist
from avstore.train.errors import UserError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = b"\nending after this step; once more ends it as it stands\n"


class StoppedError(BaseException):
    """Told to stop, the program does. whole: no `held` block was left half done."""

    def __init__(self, where: str = "stopped", *, whole: bool = True) -> None:
        super().__init__(where)
        self.whole = whole


class Ending:
    """What the program was told, and whether it is in the middle of something."""

    def __init__(self) -> None:
        self.told: signal.Signals | None = None
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """The block is done whole: a signal waits for its end, where it raises StoppedError. A
        second one does not wait. Of several processes none waits, for they would be told between
        different steps and then wait for each other."""
        self._held = not dist.active()
        try:
            yield
        finally:
            self._held = False
        if self.told:
            raise StoppedError

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Signals are handled here (in the main thread: Python allows it nowhere else)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _frame: object) -> None:
        again, self.told = self.told, signal.Signals(number)
        if not self._held:
            raise StoppedError
        if again:
            raise StoppedError(whole=False)
        os.write(2, _PATIENCE)  # sys.stderr may be in the middle of a line


def exit_code(program: Callable[[Ending], None], to_go_on: str) -> int:
    """Run a program. 0; 2 where the user can mend it; 4 where disk or permission fail; 128 and the
    signal's number where it was told to stop: 130 (SIGINT, Ctrl-C), 143 (SIGTERM)."""
    ending = Ending()
    with ending.listening():
        try:
            program(ending)
        except (Exception, StoppedError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                ending.told = signal.SIGINT
            if ending.told is None:
                return _failed(error)
            # Libraries that are interrupted raise what they like.
            where = error if isinstance(error, StoppedError) else "stopped"
            print(f"{where}; {to_go_on}", file=sys.stderr)
            return 128 + ending.told
    return 0


def _failed(error: BaseException) -> int:
    if isinstance(error, (UserError, StoreError)):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, OSError):
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return 4
    raise error
