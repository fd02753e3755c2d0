"""The reader of a store's shards: local or remote, one a process."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from avstore.manifests.block_cache import BlockCache
from avstore.manifests.remote_reader import RemoteReader, Span
from avstore.manifests.shard_reader import LocalReader, Reader

_READERS: dict[tuple[str, str, str, int], Reader] = {}


def shard_reader(
    url: str, options: Mapping[str, Any] | None = None, cache: tuple[str, int] | None = None
) -> Reader:
    """Return this process's reader of the store at `url`.

    Args:
        url: Store root: a local path or an fsspec URL.
        options: fsspec options of a remote store.
        cache: Folder and size in bytes of a block cache for a remote store.
    """
    key = (url, repr(options), repr(cache), os.getpid())
    if key not in _READERS:
        _READERS[key] = _make(url, options or {}, cache)
    return _READERS[key]


def _make(url: str, options: Mapping[str, Any], cache: tuple[str, int] | None) -> Reader:
    if "://" not in url:
        return LocalReader(url)
    return RemoteReader(url, dict(options), BlockCache(*cache) if cache else None)


def expecting(reader: Reader, spans: Sequence[Span]) -> AbstractContextManager[None]:
    """Announce what is going to be read, where that saves time."""
    return reader.expecting(spans) if isinstance(reader, RemoteReader) else nullcontext()
