"""Whole samples as they are stored, at the speed of reading the shards from end to end."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from manifests.store import StoreError
from train.data.readers import expecting, reader_of
from train.data.reading import Reader, ReadError
from train.data.remote import Span
from train.data.samples import Sample, SampleList

_HEADER = 512
_CHUNK_BYTES = 8 << 20
_AHEAD = 4


def raw_samples(
    samples: SampleList, indices: Sequence[int] | None = None
) -> Iterator[tuple[Sample, dict[str, memoryview]]]:
    """Every sample with its members' contents by suffix, nothing decoded or copied.

    In the order in which they are stored, so that a shard is read from front to back in pieces of
    8 MiB; indices: only these. Raises StoreError where a shard cannot be read.
    """
    wanted = None if indices is None else set(indices)
    order = [int(i) for i in samples.places if wanted is None or int(i) in wanted]
    reader = reader_of(samples)
    under_way: deque[tuple[list[Sample], ExitStack]] = deque()
    try:
        for chunk in _chunks(order, samples):
            stack = ExitStack()
            stack.enter_context(expecting(reader, [_span(chunk)]))
            under_way.append((chunk, stack))
            if len(under_way) > _AHEAD:
                yield from _oldest(reader, under_way)
        while under_way:
            yield from _oldest(reader, under_way)
    finally:
        for _, stack in under_way:
            stack.close()


def _oldest(
    reader: Reader, under_way: "deque[tuple[list[Sample], ExitStack]]"
) -> Iterator[tuple[Sample, dict[str, memoryview]]]:
    chunk, stack = under_way.popleft()
    with stack:
        yield from _read(reader, chunk)


def _chunks(order: Sequence[int], samples: SampleList) -> Iterator[list[Sample]]:
    """Neighbours within a shard, up to 8 MiB together."""
    chunk: list[Sample] = []
    for index in order:
        sample = samples.sample(index)
        if chunk and (
            sample.shard.path != chunk[0].shard.path
            or _start(sample) - _stop(chunk[-1]) > _HEADER
            or _stop(sample) - _start(chunk[0]) > _CHUNK_BYTES
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


def _read(
    reader: Reader, chunk: Sequence[Sample]
) -> Iterator[tuple[Sample, dict[str, memoryview]]]:
    span = _span(chunk)
    try:
        content = reader.read(span.shard, span.start, span.stop - span.start)
    except ReadError as error:
        raise StoreError(f"{span.shard.path}: {error.reason}") from error
    for sample in chunk:
        offsets, sizes = sample.offsets.tolist(), sample.sizes.tolist()
        yield (
            sample,
            {
                name: content[at - span.start : at - span.start + size]
                for name, at, size in zip(sample.layout.names, offsets, sizes, strict=True)
            },
        )
