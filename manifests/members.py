"""Read members of shards: coalesced into few requests, and checked against their tar headers."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from avstore.manifests.shard_reader import ByteRange, Reader, ReadError, Shard, Span
from avstore.manifests.store import StoreError

HEADER_BYTES = 512
# Longest coalesced span, and bytes that `read_many` requests at a time.
_MAX_BYTES = 64 << 20
# Requests that `read_many` sends at a time, where they are small.
_MAX_REQUESTS = 256


def member_ranges(
    shard: Shard, clip_id: str, members: str, offsets: Sequence[int], sizes: Sequence[int]
) -> dict[str, ByteRange]:
    """Return a clip's members by suffix, in the shard's order.

    Args:
        shard: The shard that holds them.
        clip_id: `<dataset>/<key>`.
        members: Suffixes, separated by spaces (column `members`).
        offsets: Start of each content in bytes.
        sizes: Size of each content in bytes.
    """
    key = clip_id.partition("/")[2]
    rows = zip(members.split(" "), offsets, sizes, strict=True)
    return {name: ByteRange(shard, f"{key}.{name}", at, size) for name, at, size in rows}


def read_members(
    reader: Reader, wanted: Sequence[ByteRange], crc32: int | None = None
) -> list[memoryview]:
    """Read members of one shard, near ones by one request, and check the tar header of each.

    What proves wrong is read again if the reader held an old copy of it: the store may have been
    repaired since.

    Args:
        reader: The store's reader.
        wanted: Members of one shard, in any order.
        crc32: Expected CRC-32 of the contents in the order of `wanted`, or None to skip the check.

    Returns:
        The contents, in the order of `wanted`.

    Raises:
        ReadError: A member is missing, damaged or not the one that `wanted` names.
    """
    try:
        return _read_checked(reader, wanted, crc32)
    except ReadError:
        if not invalidate(reader, wanted):
            raise
    try:
        return _read_checked(reader, wanted, crc32)
    except ReadError:
        invalidate(reader, wanted)  # a cache must not keep what failed a check
        raise


def read_many(
    reader: Reader, wanted: Sequence[ByteRange]
) -> Iterator[tuple[ByteRange, memoryview]]:
    """Read members of any number of shards, in the order in which they are stored.

    Near members are read by one request; a remote reader sends up to 64 MiB of requests at a time.

    Raises:
        StoreError: A member cannot be read; the message names its shard.
    """
    ordered = sorted(set(wanted), key=lambda item: (item.shard.path, item.offset))
    for batch in _batches(ordered, reader.gap):
        with reader.prefetching([_span(group) for group in batch]):
            for group in batch:
                try:
                    yield from zip(group, read_members(reader, group), strict=True)
                except ReadError as error:
                    raise StoreError(f"{group[0].shard.path}: {error.reason}") from error


def invalidate(reader: Reader, wanted: Sequence[ByteRange]) -> bool:
    """Drop what the reader holds of members of one shard; return whether a re-read may differ."""
    if not wanted:
        return False
    span = _span(wanted)
    return reader.invalidate(span.shard, span.start, span.stop)


def _read_checked(
    reader: Reader, wanted: Sequence[ByteRange], crc32: int | None
) -> list[memoryview]:
    contents = _read(reader, wanted)
    if crc32 is not None:
        found = 0
        for content in contents:
            found = zlib.crc32(content, found)
        if found != crc32:
            raise ReadError(
                f"its CRC-32 is {found:08x} and the manifest says {crc32:08x}: the shard is "
                "damaged; run avstore verify"
            )
    return contents


def _read(reader: Reader, wanted: Sequence[ByteRange]) -> list[memoryview]:
    found: list[memoryview] = [memoryview(b"")] * len(wanted)
    for group in _groups(wanted, reader.gap):
        span = _span([wanted[place] for place in group])
        content = reader.read(span.shard, span.start, span.stop - span.start)
        for place in group:
            item = wanted[place]
            at = item.offset - span.start
            _check_header(content[at - HEADER_BYTES : at], item)
            found[place] = content[at : at + item.size]
    return found


def _span(wanted: Sequence[ByteRange]) -> Span:
    """Return the bytes from the first member's header to the last one's end."""
    start = min(item.offset for item in wanted) - HEADER_BYTES
    return Span(wanted[0].shard, start, max(item.offset + item.size for item in wanted))


def _batches(ordered: Sequence[ByteRange], gap: int) -> Iterator[list[list[ByteRange]]]:
    """Yield coalesced groups that are requested together, at most 64 MiB of them."""
    batch: list[list[ByteRange]] = []
    held = 0
    for _, items in groupby(ordered, key=lambda item: item.shard.path):
        shard_items = list(items)
        for places in _groups(shard_items, gap):
            group = [shard_items[place] for place in places]
            span = _span(group)
            full = held + span.stop - span.start > _MAX_BYTES or len(batch) == _MAX_REQUESTS
            if batch and full:
                yield batch
                batch, held = [], 0
            batch.append(group)
            held += span.stop - span.start
    if batch:
        yield batch


def _groups(wanted: Sequence[ByteRange], gap: int) -> list[list[int]]:
    """Return the indices of `wanted`, grouped so that each group is worth one request."""
    groups: list[list[int]] = []
    start = stop = 0
    for place in sorted(range(len(wanted)), key=lambda place: wanted[place].offset):
        item = wanted[place]
        begin, end = item.offset - HEADER_BYTES, item.offset + item.size
        if groups and begin - stop <= gap and end - start <= _MAX_BYTES:
            groups[-1].append(place)
            stop = max(stop, end)
        else:
            groups.append([place])
            start, stop = begin, end
    return groups


def _check_header(header: memoryview, item: ByteRange) -> None:
    """Raise ReadError unless it is the tar header of `item`."""
    raw = bytes(header)
    if is_own_header(raw, item):
        return
    if raw[257:262] != b"ustar":
        raise ReadError(
            "no tar header in front of it: the shard is damaged or was rebuilt; run avstore verify",
            item.offset,
        )
    name = raw[:100].rstrip(b"\0").decode("utf-8", "replace")
    prefix = raw[345:500].split(b"\0", 1)[0].decode("utf-8", "replace")
    if raw[257:263] == b"ustar\0" and prefix:
        name = f"{prefix}/{name}"
    try:
        size = int(raw[124:136].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        size = -1
    if len(item.name) <= 100 and (name, size) != (item.name, item.size):
        raise ReadError(
            f"the shard holds {name} ({size} bytes) and not {item.name} ({item.size} bytes): "
            "the store was rebuilt since it was queried, or the shard is damaged; query it again, "
            "or run avstore verify",
            item.offset,
        )


def is_own_header(raw: bytes, item: ByteRange) -> bool:
    """Return whether `raw` is the header that avstore writes for this member, without parsing."""
    name = item.name.encode()
    return (
        len(name) <= 100
        and raw[:100] == name.ljust(100, b"\0")
        and raw[124:136] == b"%011o\0" % item.size
        and raw[257:263] == b"ustar\0"
        and raw[345] == 0
    )
