"""Read the bytes that a request names, check them, and prefetch those of the next step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from avstore.manifests.array_members import read_array
from avstore.manifests.members import HEADER_BYTES, read_members
from avstore.manifests.remote_reader import RemoteReader
from avstore.manifests.shard_reader import (
    BadSample,
    BadSampleError,
    ByteRange,
    Reader,
    ReadError,
    Span,
)
from avstore.train.data.buffers import OutputBuffers
from avstore.train.data.order import Order, Rows
from avstore.train.data.request import SampleRequest, request_rows
from avstore.train.data.spec import BatchSpec, ErrorPolicy

# Steps that this process has announced to its reader and not yet read, oldest first.
_ANNOUNCED: dict[tuple[int, int], ExitStack] = {}
_MAX_ANNOUNCED = 2


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of a sample.

    Attributes:
        members: Contents of members by their names in the shards.
        rows: Features by name that were read into their rows of the batch, and are no members.
        groups: The windows of the stored video.
    """

    members: Mapping[str, memoryview]
    rows: Mapping[str, NDArray[Any]]
    groups: tuple[memoryview, ...] = ()


def read(
    request: SampleRequest, reader: Reader, out: OutputBuffers | None, spec: BatchSpec
) -> Contents:
    """Read a request's members and features.

    Args:
        request: The request.
        reader: The store's reader.
        out: The sample's rows of the batch; None for a sample that may be mixed.
        spec: Settings.

    Raises:
        BadSampleError: If one cannot be read, or its checksum differs.
    """
    members = _read_members(request, reader, request.members, request.crc32)
    rows = {}
    for feature in request.features:
        row = out.features[feature.name].known_row(out.row) if out and spec.plain_features else None
        if row is not None and read_array(reader, feature.member, row, feature.crc32):
            rows[feature.name] = row
        else:
            members |= _read_members(request, reader, (feature.member,), feature.crc32)
    groups = tuple(_read_group(request, reader, item) for item in request.groups)
    return Contents(members, rows, groups)


def _read_group(request: SampleRequest, reader: Reader, item: ByteRange) -> memoryview:
    """Read a window of a video, without the member's tar header: its groups have checksums."""
    try:
        return reader.read(item.shard, item.offset, item.size)
    except ReadError as error:
        problem = BadSample(request.sample.clip_id, item.shard.path, item.offset, error.reason)
        raise BadSampleError(problem) from error


def _read_members(
    request: SampleRequest, reader: Reader, members: Sequence[ByteRange], crc32: int | None
) -> dict[str, memoryview]:
    """Read members of one shard; name the clip if one cannot be read."""
    try:
        contents = read_members(reader, members, crc32)
    except ReadError as error:
        shard = members[0].shard if members else request.sample.shard
        problem = BadSample(request.sample.clip_id, shard.path, error.offset, error.reason)
        raise BadSampleError(problem) from error
    return {member.name: content for member, content in zip(members, contents, strict=True)}


@contextmanager
def prefetch(
    order: Order, current: Rows, following: Rows | None, spec: BatchSpec, policy: ErrorPolicy
) -> Iterator[None]:
    """Announce two steps to the reader of a remote store, so that their bytes arrive meanwhile.

    Local stores are read without it: the kernel reads ahead.

    Args:
        order: The order of the steps.
        current: Rows of the step that is read inside the context.
        following: Rows of the step that is read next.
        spec: Settings.
        policy: Its checksum is used.
    """
    if not isinstance(order.samples.reader, RemoteReader):
        yield
        return
    for rows in (current, following):
        if rows is not None:
            _announce(order, rows, spec, policy)
    try:
        yield
    finally:
        _withdraw((id(order), current.step))


def _announce(order: Order, rows: Rows, spec: BatchSpec, policy: ErrorPolicy) -> None:
    key = (id(order), rows.step)
    if key in _ANNOUNCED:
        return
    while len(_ANNOUNCED) >= _MAX_ANNOUNCED:
        _withdraw(next(iter(_ANNOUNCED)))
    stack, reader = ExitStack(), order.samples.reader
    spans = _spans(order, rows, spec.at(rows.step), policy)
    stack.enter_context(reader.prefetching(spans))
    _ANNOUNCED[key] = stack


def _withdraw(key: tuple[int, int]) -> None:
    if stack := _ANNOUNCED.pop(key, None):
        stack.close()


def _spans(order: Order, rows: Rows, spec: BatchSpec, policy: ErrorPolicy) -> list[Span]:
    """Return the spans that the rows' samples are read from, without samples that lack members."""
    requests = [
        request
        for request in request_rows(order, rows, spec, policy)
        if isinstance(request, SampleRequest)
    ]
    partners = [request.partner for request in requests if request.partner is not None]
    members = [
        member
        for request in (*requests, *partners)
        for member in (*request.members, *(feature.member for feature in request.features))
    ]
    groups = [item for request in (*requests, *partners) for item in request.groups]
    return [
        *(Span(m.shard, m.offset - HEADER_BYTES, m.offset + m.size) for m in members),
        *(Span(g.shard, g.offset, g.offset + g.size) for g in groups),
    ]
