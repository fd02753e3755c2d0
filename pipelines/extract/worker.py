"""The sandbox's child: reads sources from a pipe, extracts, writes outcomes to a pipe.

Started as `python -m avstore.pipelines.extract.worker`. Its first message is the recipe and the
limits; it ends when its input ends, or when its parent dies.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from avstore.pipelines.extract import protocol as wire
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import Recipe, parse_recipe
from avstore.pipelines.extract.records import Source

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve until the input ends. Exit status 0 at its end, 3 when out of memory."""
    requests, replies = _take_pipes()
    first = wire.receive(requests)
    if first is None:
        return 0
    settings = first[0]
    _confine(settings["parent"], settings["memory_bytes"])
    recipe = parse_recipe(settings["recipe"])
    wire.send(replies, {"ready": os.getpid()})
    while (message := wire.receive(requests)) is not None:
        header, bodies = _answer(Source(**message[0]), recipe)
        wire.send(replies, header, bodies)
        if "memory" in header:
            return 3  # what was allocated so far may be fragmented: start afresh
    return 0


def _answer(source: Source, recipe: Recipe) -> tuple[dict[str, Any], list[bytes]]:
    try:
        return wire.pack(extract_clip(source, recipe))
    except MemoryError:
        return {"memory": True}, []
    except OSError as error:
        number, text = error.errno or 0, error.strerror or str(error)
        return {"os_error": [number, text, source.path]}, []


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for the messages alone; prints of libraries go to stderr."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _confine(parent: int, memory_bytes: int) -> None:
    """Die with the parent, no more memory than allowed, no core dumps."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    sys.exit(main())
