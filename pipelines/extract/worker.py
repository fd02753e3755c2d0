"""Run the sandbox's worker process: read sources from a pipe, extract, write results to a pipe.

The sandbox starts it as `python -m avstore.pipelines.extract.worker`. The first message holds the
recipe, if clips are extracted, and the limits. The process ends with its input or with its parent.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract import protocol
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.cut_files import explained_by_cut
from avstore.pipelines.extract.foreign_audio import decode_foreign_audio
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
    memory_bytes = _confine(settings["parent"], settings["memory_bytes"])
    recipe = parse_recipe(settings["recipe"]) if settings["recipe"] else None
    protocol.send(replies, {"ready": os.getpid(), "memory_bytes": memory_bytes})
    while (message := protocol.receive(requests)) is not None:
        header, bodies = _reply(*message, recipe)
        protocol.send(replies, header, bodies)
        if "memory" in header:
            return 3  # memory may be fragmented: let the sandbox start a new process
    return 0


def _reply(
    request: dict[str, Any], bodies: list[bytes], recipe: Recipe | None
) -> tuple[dict[str, Any], list[bytes]]:
    """Serve one request and return the reply; faults of the machine become a header."""
    try:
        if "probe" in request:
            return _probe(request["probe"]), []
        if recipe is None:
            content, fbank = bodies
            audio = decode_foreign_audio(content, fbank, **request["audio"])
            return protocol.pack_audio(audio)
        return protocol.pack(extract_clip(ClipSource(**request["clip"]), recipe))
    except Rejected as rejected:
        return {"rejected": [rejected.verdict, rejected.detail]}, []
    except MemoryError:
        return {"memory": True}, []
    except OSError as error:
        number, text = error.errno or 0, error.strerror or str(error)
        return {"os_error": [number, text, request.get("clip", {}).get("path", "")]}, []


def _probe(path: str) -> dict[str, float | None]:
    """Return a file's declared duration in seconds; None if it declares none."""
    try:
        with open_media(path) as container:
            return {"seconds": container_seconds(container)}
    except Rejected as rejected:
        raise explained_by_cut(path, rejected, has_audio=False) from rejected
    except OSError as error:
        raise Rejected(Verdict.UNDECODABLE, error.strerror or str(error)) from error


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages; redirect prints of libraries to stderr."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _confine(parent: int, memory_bytes: int) -> int:
    """End with the parent, limit memory, and write no core dumps; return the limit in force."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return _limit_memory(memory_bytes)


def _limit_memory(wanted: int) -> int:
    """Limit the address space to `wanted` bytes (0: no limit), or to a smaller inherited limit.

    Returns:
        The limit in force in bytes; 0 without one.
    """
    limits = [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit >= 0]
    limit = min([*limits, *([wanted] if wanted else [])], default=0)
    if limit:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        except (OSError, ValueError):  # macOS has no such limit
            return min(limits, default=0)
    return limit


if __name__ == "__main__":
    sys.exit(serve())
