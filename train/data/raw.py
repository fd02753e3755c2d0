"""Read whole samples as stored, at the speed of reading the shards sequentially."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from avstore.manifests.shard_reader import Reader, ReadError, Span
from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList, SampleRow

_TAR_BLOCK_BYTES = 512
# Bytes of a remote store that are requested before they are read.
_AHEAD_BYTES = 128 << 20


def raw_samples(
    samples: SampleList, indices: Sequence[int] | None = None
) -> Iterator[tuple[SampleRow, "RawMembers"]]:
    """Yield every sample with its members' contents, neither decoded nor copied.

    Samples come in the order in which they are stored, so a shard is read from front to back in
    pieces of some MiB.

    Args:
        samples: The list.
        indices: Only these samples of it.

    Raises:
        StoreError: If a shard cannot be read.

    Example:
        >>> for sample, members in raw_samples(samples, indices=[0]):
        ...     print(sample.clip_id, list(members)[:4], bytes(members["flac"][:4]))
        toy/k000_000000 ['json', 'fbank.npy', 'flac', 'f000.jpg'] b'fLaC'
    """
    selected = None if indices is None else set(indices)
    order = [int(i) for i in samples.stored_order if selected is None or int(i) in selected]
    reader = samples.reader
    pending: deque[tuple[list[SampleRow], ExitStack]] = deque()
    try:
        for chunk in _chunks(order, samples, reader.chunk):
            stack = ExitStack()
            stack.enter_context(reader.prefetching([_span(chunk)]))
            pending.append((chunk, stack))
            if len(pending) * reader.chunk > _AHEAD_BYTES:
                yield from _read_oldest(reader, pending)
        while pending:
            yield from _read_oldest(reader, pending)
    finally:
        for _, stack in pending:
            stack.close()


def _read_oldest(
    reader: Reader, pending: "deque[tuple[list[SampleRow], ExitStack]]"
) -> Iterator[tuple[SampleRow, "RawMembers"]]:
    chunk, stack = pending.popleft()
    with stack:
        yield from _read(reader, chunk)


def _chunks(order: Sequence[int], samples: SampleList, limit: int) -> Iterator[list[SampleRow]]:
    """Group neighbours within a shard, up to `limit` bytes together."""
    chunk: list[SampleRow] = []
    for index in order:
        sample = samples.sample(index)
        if chunk and (
            sample.shard.path != chunk[0].shard.path
            or _start(sample) - _stop(chunk[-1]) > _TAR_BLOCK_BYTES
            or _stop(sample) - _start(chunk[0]) > limit
        ):
            yield chunk
            chunk = []
        chunk.append(sample)
    if chunk:
        yield chunk


def _start(sample: SampleRow) -> int:
    """Return where the tar header of the first member starts."""
    return int(sample.offsets[0]) - _TAR_BLOCK_BYTES


def _stop(sample: SampleRow) -> int:
    """Return where the last member's padding ends."""
    blocks = -(-int(sample.sizes[-1]) // _TAR_BLOCK_BYTES)
    return int(sample.offsets[-1]) + blocks * _TAR_BLOCK_BYTES


def _span(chunk: Sequence[SampleRow]) -> Span:
    return Span(chunk[0].shard, _start(chunk[0]), _stop(chunk[-1]))


def _read(reader: Reader, chunk: Sequence[SampleRow]) -> Iterator[tuple[SampleRow, "RawMembers"]]:
    span = _span(chunk)
    try:
        content = reader.read(span.shard, span.start, span.stop - span.start)
    except ReadError as error:
        raise StoreError(f"{span.shard.path}: {error.reason}") from error
    for sample in chunk:
        yield sample, RawMembers(sample, content, span.start)


class RawMembers(Mapping[str, memoryview]):
    """A sample's contents by suffix, in the order in which they are stored.

    Args:
        sample: The sample.
        content: Bytes of the shard that hold it.
        start: Offset of `content` in the shard.
    """

    def __init__(self, sample: SampleRow, content: memoryview, start: int) -> None:
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
