"""Read many byte ranges of a store's files: sorted, coalesced, in as few requests as can be."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from avstore.manifests.store import StoreError

# A gap this small costs less to read than another request does.
GAP_BYTES = 256 << 10
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, order=True)
class Range:
    """Bytes [offset, offset + size) of a file; path: relative to the store."""

    path: str
    offset: int
    size: int


def coalesce(ranges: Sequence[Range], gap: int = GAP_BYTES) -> list[Range]:
    """Fewer, longer ranges that cover these, in order; none longer than 64 MiB unless it must."""
    merged: list[Range] = []
    for wanted in sorted(set(ranges)):
        last = merged[-1] if merged else None
        if last is not None and last.path == wanted.path:
            end = max(last.offset + last.size, wanted.offset + wanted.size)
            near = wanted.offset - (last.offset + last.size) <= gap
            if near and end - last.offset <= _MAX_BYTES:
                merged[-1] = Range(last.path, last.offset, end - last.offset)
                continue
        merged.append(wanted)
    return merged


def read_ranges(
    fs: Any, root: str, ranges: Sequence[Range], gap: int = GAP_BYTES
) -> Iterator[tuple[Range, bytes]]:
    """Every wanted range with its bytes, in file order; a batch of requests at a time.

    fs: an fsspec file system; root: the store's path on it.
    Raises StoreError where a file is missing or too short.
    """
    inside = defaultdict(list)
    merged = coalesce(ranges, gap)
    covering = iter(merged)
    current = next(covering, None)
    for wanted in sorted(set(ranges)):
        while current is not None and not _covers(current, wanted):
            current = next(covering, None)
        if current is not None:
            inside[current].append(wanted)
    for batch in _batches(merged):
        for whole, content in zip(batch, _fetch(fs, root, batch), strict=True):
            for wanted in inside[whole]:
                at = wanted.offset - whole.offset
                yield wanted, content[at : at + wanted.size]


def _covers(whole: Range, part: Range) -> bool:
    return (
        whole.path == part.path
        and whole.offset <= part.offset
        and part.offset + part.size <= whole.offset + whole.size
    )


def _batches(merged: Sequence[Range]) -> Iterator[list[Range]]:
    """Requests that go out together: at most so many bytes held at a time."""
    batch: list[Range] = []
    held = 0
    for item in merged:
        if batch and held + item.size > _MAX_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += item.size
    if batch:
        yield batch


def _fetch(fs: Any, root: str, batch: Sequence[Range]) -> list[bytes]:
    paths = [f"{root.rstrip('/')}/{item.path}" for item in batch]
    starts = [item.offset for item in batch]
    ends = [item.offset + item.size for item in batch]
    try:
        contents: list[bytes] = fs.cat_ranges(paths, starts, ends, on_error="raise")
    except FileNotFoundError as error:
        raise StoreError(
            f"a shard that the manifest names is not there: {error}; run avstore verify"
        ) from error
    for item, content in zip(batch, contents, strict=True):
        if len(content) != item.size:
            raise StoreError(
                f"{item.path} ends before byte {item.offset + item.size}; run avstore verify"
            )
    return contents
