"""Run the sandbox's worker process: read sources from a pipe, extract, write results to a pipe.

The sandbox starts it as `python -m avstore.pipelines.extract.worker`. The first message holds the
recipe and the limits. The process ends with its input or with its parent.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from avstore.pipelines.extract import protocol
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.open_media import container_seconds, open_media
from avstore.pipelines.extract.recipe import Recipe, parse_recipe
from avstore.pipelines.extract.records import ClipSource, Rejected

_PR_SET_PDEATHSIG = 1


def serve() -> int:
    """Serve requests until the input ends; return exit status 0, or 3 when out of memory."""
    requests, replies = _take_pipes()
    first = protocol.receive(requests)
    if first is None:
        return 0
    settings = first[0]
    _confine(settings["parent"], settings["memory_bytes"])
    recipe = parse_recipe(settings["recipe"])
    protocol.send(replies, {"ready": os.getpid()})
    while (message := protocol.receive(requests)) is not None:
        request = message[0]
        header, bodies = (
            _probe(request["probe"])
            if "probe" in request
            else _extract(ClipSource(**request), recipe)
        )
        protocol.send(replies, header, bodies)
        if "memory" in header:
            return 3  # memory may be fragmented: let the sandbox start a new process
    return 0


def _extract(source: ClipSource, recipe: Recipe) -> tuple[dict[str, Any], list[bytes]]:
    """Extract one clip and return the reply; faults of the machine become a header."""
    try:
        return protocol.pack(extract_clip(source, recipe))
    except MemoryError:
        return {"memory": True}, []
    except OSError as error:
        number, text = error.errno or 0, error.strerror or str(error)
        return {"os_error": [number, text, source.path]}, []


def _probe(path: str) -> tuple[dict[str, Any], list[bytes]]:
    """Return a file's declared duration in seconds, or why it has none."""
    try:
        with open_media(path) as container:
            return {"seconds": container_seconds(container)}, []
    except Rejected as rejected:
        return {"rejected": rejected.detail}, []
    except MemoryError:
        return {"memory": True}, []
    except OSError as error:
        return {"rejected": error.strerror or str(error)}, []


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages; redirect prints of libraries to stderr."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _confine(parent: int, memory_bytes: int) -> None:
    """End with the parent, limit memory, and write no core dumps."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    sys.exit(serve())
