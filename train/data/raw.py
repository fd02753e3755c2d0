"""Whole samples as they are stored, at the speed of reading the shards from end to end."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from avstore.manifests.shard_reader import Reader, ReadError, Span
from avstore.manifests.store import StoreError
from avstore.train.data.samples import Sample, SampleList

_HEADER = 512
# Of a remote store, announced before it is read.
_AHEAD_BYTES = 128 << 20


def raw_samples(
    samples: SampleList, indices: Sequence[int] | None = None
) -> Iterator[tuple[Sample, "RawMembers"]]:
    """Every sample with its members' contents by suffix, nothing decoded or copied.

    In the order in which they are stored, so that a shard is read from front to back in pieces of
    some MiB; indices: only these. Raises StoreError where a shard cannot be read.
    """
    wanted = None if indices is None else set(indices)
    order = [int(i) for i in samples.places if wanted is None or int(i) in wanted]
    reader = samples.reader
    under_way: deque[tuple[list[Sample], ExitStack]] = deque()
    try:
        for chunk in _chunks(order, samples, reader.chunk):
            stack = ExitStack()
            stack.enter_context(reader.prefetching([_span(chunk)]))
            under_way.append((chunk, stack))
            if len(under_way) * reader.chunk > _AHEAD_BYTES:
                yield from _oldest(reader, under_way)
        while under_way:
            yield from _oldest(reader, under_way)
    finally:
        for _, stack in under_way:
            stack.close()


def _oldest(
    reader: Reader, under_way: "deque[tuple[list[Sample], ExitStack]]"
) -> Iterator[tuple[Sample, "RawMembers"]]:
    chunk, stack = under_way.popleft()
    with stack:
        yield from _read(reader, chunk)


def _chunks(order: Sequence[int], samples: SampleList, most: int) -> Iterator[list[Sample]]:
    """Neighbours within a shard, up to `most` bytes together."""
    chunk: list[Sample] = []
    for index in order:
        sample = samples.sample(index)
        if chunk and (
            sample.shard.path != chunk[0].shard.path
            or _start(sample) - _stop(chunk[-1]) > _HEADER
            or _stop(sample) - _start(chunk[0]) > most
        ):
            yield chunk
            chunk = []
        chunk.append(sample)
    if chunk:
        yield chunk


def _start(sample: Sample) -> int:
    return int(sample.offsets[0]) - _HEADER


def _stop(sample: Sample) -> int:
    return int(sample.offsets[-1]) + -(-int(sample.sizes[-1]) // 512) * 512


def _span(chunk: Sequence[Sample]) -> Span:
    return Span(chunk[0].shard, _start(chunk[0]), _stop(chunk[-1]))


def _read(reader: Reader, chunk: Sequence[Sample]) -> Iterator[tuple[Sample, "RawMembers"]]:
    span = _span(chunk)
    try:
        content = reader.read(span.shard, span.start, span.stop - span.start)
    except ReadError as error:
        raise StoreError(f"{span.shard.path}: {error.reason}") from error
    for sample in chunk:
        yield sample, RawMembers(sample, content, span.start)


class RawMembers(Mapping[str, memoryview]):
    """A sample's members by suffix, in the order in which they are stored; cut out when asked."""

    def __init__(self, sample: Sample, content: memoryview, start: int) -> None:
        self._sample, self._content, self._start = sample, content, start

    def __getitem__(self, name: str) -> memoryview:
        if name not in self._sample.layout.slots:
            raise KeyError(name)
        offset, size = self._sample.range(name)
        return self._content[offset - self._start : offset - self._start + size]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sample.layout.names)

    def __len__(self) -> int:
        return len(self._sample.layout.names)
