"""Record the results of a source in the ledger and the manifest."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from avstore.manifests.ingest import transaction
from avstore.manifests.path_text import text_path
from avstore.manifests.sequence import numbers
from avstore.manifests.status import note_attempts
from avstore.manifests.store import Store
from avstore.pipelines.fetch.attempt_log import ATTEMPTS_SCHEMA, AttemptLog, to_row
from avstore.pipelines.fetch.requests import source_kind
from avstore.pipelines.fetch.source import FetchResult

_BATCH_ROWS = 1000
_FLUSH_EVERY_S = 20.0


@dataclass(frozen=True)
class _LastFetch:
    """A clip's latest fetch in the manifest."""

    outcome: str
    path: str | None
    offset_s: float | None
    started_at: datetime
    tool: str | None
    modified_at: datetime | None


class _LastFetches:
    """The latest fetch of every clip, kept as columns: rows of millions would take gigabytes."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._table = con.sql(
            "SELECT clip_id, outcome, path, offset_s, started_at, tool_version, modified_at "
            "FROM last_fetch"
        ).to_arrow_table()
        ids = self._table.column(0).to_pylist()
        self._rows = {clip_id: row for row, clip_id in enumerate(ids)}

    def get(self, clip_id: str) -> _LastFetch | None:
        row = self._rows.get(clip_id)
        if row is None:
            return None
        outcome, path, *rest = (self._table.column(i)[row].as_py() for i in range(1, 7))
        return _LastFetch(outcome, path and text_path(path), *rest)


def record_outcomes(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    log: AttemptLog,
    run_id: str,
    results: Iterable[FetchResult],
    sequence: Iterator[int] | None = None,
    *,
    keep_repeats: bool = False,
) -> Iterator[FetchResult]:
    """Record each result, in the ledger at once and in the manifest in batches, and yield it.

    A result that repeats the clip's latest fetch (same file, not modified since) is yielded
    without being recorded. So is a source's lack of a clip that another source has.

    Args:
        con: The manifest, writable.
        store: Its store; paths inside it are recorded relative to it.
        log: The run's attempt log.
        run_id: The run's id.
        results: The source's results.
        sequence: The run's numbers (default: those after all in the manifest).
        keep_repeats: Record every result.
    """
    last_fetches = _LastFetches(con)
    sequence = sequence or numbers(con)
    batch: list[dict[str, Any]] = []
    flushed = time.monotonic()
    try:
        for unrecorded in results:
            result = _with_file(store, unrecorded)
            last = last_fetches.get(result.clip_id)
            if keep_repeats or not _is_repeat(store, result, last):
                row = to_row(result, run_id, next(sequence))
                log.append(row)
                batch.append(row)
            if len(batch) >= _BATCH_ROWS or time.monotonic() - flushed > _FLUSH_EVERY_S:
                _insert(con, batch)
                batch, flushed = [], time.monotonic()
            yield result
    finally:
        _insert(con, batch)


def _with_file(store: Store, result: FetchResult) -> FetchResult:
    """Note when the file was modified, and make a path inside the store relative to it.

    The store can then be moved.
    """
    if result.path is None:
        return result
    path, root = Path(result.path).absolute(), store.root.absolute()
    try:
        modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
    except (OSError, ValueError, OverflowError):
        modified_at = None
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    return replace(result, path=str(relative), modified_at=modified_at)


def _is_repeat(store: Store, result: FetchResult, last: _LastFetch | None) -> bool:
    if last is None:
        return False
    if result.status in ("gone", "absent") and last.outcome == "stored" and last.path:
        return os.path.isfile(store.root / last.path)  # another source's file is still there
    kind, last_kind = source_kind(result.tool_version), source_kind(last.tool)
    if result.status == "absent" and kind != last_kind:
        return last.outcome in ("gone", "absent", "retryable", "rejected")  # it says more
    if result.status != last.outcome or result.path != last.path:
        return False
    if result.path is None:
        return result.status in ("gone", "absent") and kind == last_kind
    return result.offset_s == last.offset_s and _is_unmodified(result, last)


def _is_unmodified(result: FetchResult, last: _LastFetch) -> bool:
    """Return whether the file is the one of the latest fetch, by its modification time."""
    if last.modified_at is None or result.modified_at is None:  # recorded by an older version
        return result.modified_at is not None and result.modified_at <= last.started_at
    return result.modified_at == last.modified_at


def _insert(con: duckdb.DuckDBPyConnection, batch: Sequence[dict[str, Any]]) -> None:
    if not batch:
        return
    table = pa.Table.from_pylist(list(batch), schema=ATTEMPTS_SCHEMA)
    with transaction(con):
        con.register("new_rows", table)
        con.execute("INSERT INTO attempts BY NAME SELECT * FROM new_rows")
        con.unregister("new_rows")
        note_attempts(con, table)
