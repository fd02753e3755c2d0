"""Reading ahead: while one step of a remote store is decoded, the next one is on its way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from avstore.manifests.remote_reader import RemoteReader
from avstore.manifests.shard_reader import BadSampleError, Span
from avstore.train.data.order import Order, Rows
from avstore.train.data.request import request_row
from avstore.train.data.spec import BatchSpec, Policy

_HEADER = 512
# Announced and not yet built, of this process, oldest first.
_UNDER_WAY: dict[tuple[int, int], ExitStack] = {}
_MOST = 2


@contextmanager
def announced(
    order: Order, now: Rows, then: Rows | None, spec: BatchSpec, policy: Policy
) -> Iterator[None]:
    """`now` is about to be read, `then` next. Does nothing for local stores."""
    if not isinstance(order.samples.reader, RemoteReader):
        yield
        return
    for rows in (now, then):
        if rows is not None:
            _begin(order, rows, spec, policy)
    try:
        yield
    finally:
        _end((id(order), now.step))


def _begin(order: Order, rows: Rows, spec: BatchSpec, policy: Policy) -> None:
    key = (id(order), rows.step)
    if key in _UNDER_WAY:
        return
    while len(_UNDER_WAY) >= _MOST:
        _end(next(iter(_UNDER_WAY)))
    stack = ExitStack()
    reader = order.samples.reader
    stack.enter_context(reader.prefetching(spans(order, rows, spec, policy)))
    _UNDER_WAY[key] = stack


def _end(key: tuple[int, int]) -> None:
    if stack := _UNDER_WAY.pop(key, None):
        stack.close()


def spans(order: Order, rows: Rows, spec: BatchSpec, policy: Policy) -> list[Span]:
    """What the rows' samples are read from; a sample that lacks something is left out."""
    found: list[Span] = []
    for at in range(len(rows)):
        try:
            one = request_row(order, rows, at, int(rows.indices[at]), spec, policy)
        except BadSampleError:
            continue
        for part in (one, one.partner):
            if part is not None:
                wanted = part.wanted() + [item for _, item in part.features]
                found += [
                    Span(item.shard, item.offset - _HEADER, item.offset + item.size)
                    for item in wanted
                ]
    return found
