"""Messages between the sandbox and its child: a JSON header, then raw bytes. Never pickle, as
the child has read hostile media.

A message is the header's length (4 bytes, big-endian), the header, and the bodies whose sizes
the header lists under `sizes`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.records import Extracted, MediaFacts, Quality

MAX_HEADER = 1 << 26
MAX_BODY = 1 << 31


class WireError(Exception):
    """The other side sent something that is not a message."""


def send(stream: IO[bytes], header: dict[str, Any], bodies: Sequence[bytes] = ()) -> None:
    """One message, flushed."""
    text = json.dumps({**header, "sizes": [len(body) for body in bodies]}).encode()
    stream.write(len(text).to_bytes(4, "big") + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next message, or None at the end of the stream. Raises WireError."""
    first = stream.read(4)
    if not first:
        return None
    length = int.from_bytes(first, "big")
    if len(first) < 4 or length > MAX_HEADER:
        raise WireError(f"a header of {length} bytes")
    try:
        header = json.loads(_exactly(stream, length))
        sizes = [int(size) for size in header.pop("sizes")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WireError(f"a header that is no JSON object with sizes: {error}") from error
    if min(sizes, default=0) < 0 or sum(sizes) > MAX_BODY:
        raise WireError(f"bodies of {sum(sizes)} bytes")
    return header, [_exactly(stream, size) for size in sizes]


def pack(extracted: Extracted) -> tuple[dict[str, Any], list[bytes]]:
    """An outcome as a header and bodies."""
    header = asdict(extracted) | {"members": [suffix for suffix, _ in extracted.members]}
    return header, [body for _, body in extracted.members]


def unpack(header: dict[str, Any], bodies: Sequence[bytes]) -> Extracted:
    """The outcome that `pack` was given. Raises WireError where it cannot be one."""
    try:
        fields = dict(header)
        verdict, media = fields.pop("verdict"), fields.pop("media")
        return Extracted(
            verdict=None if verdict is None else Verdict(verdict),
            media=None if media is None else MediaFacts(**media),
            quality=Quality(**fields.pop("quality")),
            members=tuple(zip(fields.pop("members"), bodies, strict=True)),
            frame_times=tuple(fields.pop("frame_times")),
            **fields,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"not an outcome: {error}") from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise WireError(f"the stream ends {size - len(data)} bytes early")
    return data
