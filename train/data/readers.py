"""The reader of a store's shards: local or remote, one a process."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from train.data.cache import BlockCache
from train.data.reading import LocalReader, Reader
from train.data.remote import RemoteReader, Span
from train.data.samples import SampleList

_READERS: dict[tuple[str, str, str, int], Reader] = {}


def reader_of(samples: SampleList) -> Reader:
    """This process's reader of the shards that the list names."""
    key = (samples.url, repr(samples.options), repr(samples.cache), os.getpid())
    if key not in _READERS:
        _READERS[key] = _make(samples)
    return _READERS[key]


def _make(samples: SampleList) -> Reader:
    if "://" not in samples.url:
        return LocalReader(samples.url)
    cache = BlockCache(*samples.cache) if samples.cache else None
    return RemoteReader(samples.url, dict(samples.options), cache)


def expecting(reader: Reader, spans: Sequence[Span]) -> AbstractContextManager[None]:
    """Announce what is going to be read, where that saves time."""
    return reader.expecting(spans) if isinstance(reader, RemoteReader) else nullcontext()
