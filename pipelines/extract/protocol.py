"""Send and receive messages between the sandbox and its worker process.

A message is the header's length (4 bytes, big-endian), the header as JSON, and the bodies whose
sizes the header lists under `sizes`. Messages are never pickled, because the worker has read
hostile media.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any

import numpy as np

from avstore.manifests.verdicts import Verdict
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.extract.foreign_audio import ForeignAudio
from avstore.pipelines.extract.records import (
    ExtractionResult,
    MediaFacts,
    Quality,
)

MAX_HEADER = 1 << 26
MAX_BODY = 1 << 31


class ProtocolError(Exception):
    """Report bytes from the other process that are not a valid message."""


def send(stream: IO[bytes], header: dict[str, Any], bodies: Sequence[bytes] = ()) -> None:
    """Write one message and flush the stream."""
    text = json.dumps({**header, "sizes": [len(body) for body in bodies]}).encode()
    stream.write(len(text).to_bytes(4, "big") + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    """Read the next message, or return None at the end of the stream.

    Returns:
        The header and the bodies.

    Raises:
        ProtocolError: The bytes are not a valid message, or end early.
    """
    first = stream.read(4)
    if not first:
        return None
    length = int.from_bytes(first, "big")
    if len(first) < 4 or length > MAX_HEADER:
        raise ProtocolError(f"a header of {length} bytes")
    try:
        header = json.loads(_exactly(stream, length))
        sizes = [int(size) for size in header.pop("sizes")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"a header that is not a JSON object with sizes: {error}") from error
    if min(sizes, default=0) < 0 or sum(sizes) > MAX_BODY:
        raise ProtocolError(f"bodies of {sum(sizes)} bytes")
    return header, [_exactly(stream, size) for size in sizes]


def pack(result: ExtractionResult) -> tuple[dict[str, Any], list[bytes]]:
    """Convert a result to a header and bodies."""
    header = asdict(result) | {"members": [suffix for suffix, _ in result.members]}
    return header, [body for _, body in result.members]


def unpack(header: dict[str, Any], bodies: Sequence[bytes]) -> ExtractionResult:
    """Convert a header and bodies back to the result that was packed.

    Raises:
        ProtocolError: They do not hold a result.
    """
    try:
        fields = dict(header)
        verdict, media = fields.pop("verdict"), fields.pop("media")
        return ExtractionResult(
            verdict=None if verdict is None else Verdict(verdict),
            media=None if media is None else MediaFacts(**media),
            quality=Quality(**fields.pop("quality")),
            members=tuple(zip(fields.pop("members"), bodies, strict=True)),
            frame_times=tuple(fields.pop("frame_times")),
            video=_stored_video(fields.pop("video")),
            **fields,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"not an extraction result: {error}") from error


def _stored_video(fields: dict[str, Any] | None) -> StoredVideo | None:
    if fields is None:
        return None
    lists = {name: tuple(fields[name]) for name in ("gop_offsets", "gop_crc32")}
    return StoredVideo(**{**fields, **lists})


def pack_audio(audio: ForeignAudio) -> tuple[dict[str, Any], list[bytes]]:
    """Convert decoded audio to a header and a body."""
    header = {"rate": audio.rate, "unchanged": audio.unchanged, "fbank_rows": audio.fbank_rows}
    return header, [audio.samples.tobytes()]


def unpack_audio(header: dict[str, Any], bodies: Sequence[bytes]) -> ForeignAudio:
    """Convert a header and a body back to the decoded audio that was packed.

    Raises:
        ProtocolError: They do not hold decoded audio.
    """
    try:
        (body,) = bodies
        return ForeignAudio(np.frombuffer(body, np.int16), **header)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"not decoded audio: {error}") from error


def unpack_seconds(header: dict[str, Any], bodies: Sequence[bytes]) -> float:
    """Return the seconds that a file declares; 0 if it declares none.

    Raises:
        ProtocolError: The header does not hold seconds.
    """
    try:
        return float(header["seconds"] or 0)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"not a duration: {error}") from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ProtocolError(f"the stream ends {size - len(data)} bytes early")
    return data
