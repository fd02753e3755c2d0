"""What a decoder says while it works: libav's log at level error, as a list.

Damaged pictures are concealed and handed out like any other; the log is where it shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import av

Log = list[tuple[int, str, str]]
MOST = 1000


@contextmanager
def listening() -> Iterator[Log]:
    """This thread's log while open, live: level, decoder, words. Clear it to forget."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(level)


def complaints(log: Log, raised: list[str]) -> tuple[str, ...]:
    """The log's errors; where it has none, the exceptions that were raised."""
    said = [f"{name}: {text.strip()}" for level, name, text in log if level <= av.logging.ERROR]
    return tuple((said or raised)[:MOST])
