"""The driver's side of fetching: what to ask for, and how outcomes reach ledger and manifest."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from avstore.datasets.spec import Clip, DatasetSpec
from avstore.manifests.ingest import transaction
from avstore.manifests.ledger import now
from avstore.manifests.status import note_attempts
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.attempt_log import ATTEMPTS, AttemptLog, to_row
from avstore.pipelines.fetch.source import FetchResult, MediaRequest

_BATCH = 1000
_FLUSH_S = 20.0
#: Kinds of source that hold some clips; that one is not among them says nothing of the clip.
_COLLECTIONS = ("folder", "archive", "fsspec")


@dataclass(frozen=True)
class _Last:
    """What the manifest knows of a clip's latest fetch."""

    outcome: str
    path: str | None
    offset_s: float | None
    started_at: datetime
    tool: str | None


def kind(tool: str | None) -> str:
    """The kind of source that a row's tool_version names: its first word."""
    return (tool or "").partition(" ")[0]


class _Known:
    """The latest fetch of every clip, kept as columns: millions of them are some hundred MB."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._table = con.sql(
            "SELECT clip_id, outcome, path, offset_s, started_at, tool_version FROM last_fetch"
        ).to_arrow_table()
        ids = self._table.column(0).to_pylist()
        self._rows = {clip_id: row for row, clip_id in enumerate(ids)}

    def get(self, clip_id: str) -> _Last | None:
        row = self._rows.get(clip_id)
        if row is None:
            return None
        return _Last(*(self._table.column(i)[row].as_py() for i in range(1, 6)))


def wanted_clips(
    con: duckdb.DuckDBPyConnection,
    spec: DatasetSpec,
    everything: bool,
    tool: str = "",
    limit: int | None = None,
) -> list[MediaRequest]:
    """Clips to ask the source for, in annotation order.

    everything: also those already fetched or gone (a folder is looked through anew each time);
    else only what never was tried, what may be tried again now, and what another kind of source
    than that of `tool` does not have ('': leave those). limit: only of the first so many clips.
    """
    rows = con.execute(
        """
        SELECT c.clip_id, c.key, c.source_id, c.start_s, c.end_s, c.split, c.labels, c.extra,
               coalesce(f.attempts, 0), f.outcome, f.error_class, f.not_before,
               f.tool_version
        FROM (SELECT * FROM clips WHERE dataset = $dataset ORDER BY position LIMIT $limit) c
        LEFT JOIN last_fetch f USING (clip_id)
        WHERE $everything OR f.outcome IS NULL OR f.outcome <> 'stored'
        ORDER BY c.position
        """,
        {"dataset": spec.name, "limit": limit, "everything": everything},
    ).fetchall()
    at = now()
    return [_wanted(spec, row) for row in rows if everything or _due(row[8:], at, tool)]


def _due(
    state: tuple[int, str | None, str | None, datetime | None, str | None], at: datetime, tool: str
) -> bool:
    attempts, outcome, verdict, not_before, last_tool = state
    if outcome in (None, "pending"):
        return True
    if tool and outcome in ("gone", "rejected") and kind(last_tool) != kind(tool):
        return True
    if outcome != "retryable" or (not_before is not None and not_before > at):
        return False
    limit = POLICIES[Verdict(verdict or "unknown")].max_attempts
    return limit is None or attempts < limit


def _wanted(spec: DatasetSpec, row: tuple[object, ...]) -> MediaRequest:
    clip_id, key, source_id, start_s, end_s, split, labels, extra, attempts = row[:9]
    more = json.loads(str(extra)) if extra else {}
    clip = Clip(
        dataset=spec.name,
        key=str(key),
        source_id=str(source_id),
        start_s=start_s,  # type: ignore[arg-type]
        end_s=end_s,  # type: ignore[arg-type]
        split=str(split),
        labels=tuple(labels or ()),  # type: ignore[arg-type]
        extra=more,
    )
    return MediaRequest(
        clip_id=str(clip_id),
        key=clip.key,
        source_id=clip.source_id,
        start_s=clip.start_s,
        end_s=clip.end_s,
        names=spec.media_names(clip),
        url=more.get("url"),
        attempts=int(attempts),  # type: ignore[call-overload]
    )


def record_outcomes(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    log: AttemptLog,
    run_id: str,
    outcomes: Iterable[FetchResult],
) -> Iterator[FetchResult]:
    """Write each outcome down (ledger at once, manifest in batches) and pass it on.

    An outcome that only repeats what is known (same file, not changed since) is passed on alone,
    and so is one source's not having what another has given.
    """
    known = _Known(con)
    batch: list[FetchResult] = []
    flushed = time.monotonic()
    try:
        for outcome in outcomes:
            fetched = _within(store, outcome)
            if not _repeats(store, fetched, known.get(fetched.clip_id)):
                log.append(fetched)
                batch.append(fetched)
            if len(batch) >= _BATCH or time.monotonic() - flushed > _FLUSH_S:
                _insert(con, run_id, batch)
                batch, flushed = [], time.monotonic()
            yield fetched
    finally:
        _insert(con, run_id, batch)


def _within(store: Store, fetched: FetchResult) -> FetchResult:
    """Paths inside the store are kept relative to it, so that a store can be moved."""
    if fetched.path is None:
        return fetched
    path, root = Path(fetched.path).absolute(), store.root.absolute()
    kept = path.relative_to(root) if path.is_relative_to(root) else path
    return replace(fetched, path=str(kept))


def _repeats(store: Store, fetched: FetchResult, last: _Last | None) -> bool:
    if last is None:
        return False
    if fetched.status == "gone" and last.outcome == "stored" and last.path:
        return (store.root / last.path).is_file()  # another source has it; this one need not
    here, before = kind(fetched.tool_version), kind(last.tool)
    if fetched.verdict is Verdict.NOT_FOUND and here in _COLLECTIONS and here != before:
        return last.outcome in ("gone", "retryable", "rejected")  # which says more than a lack
    if fetched.status != last.outcome or fetched.path != last.path:
        return False
    if fetched.path is None:
        return fetched.status == "gone" and here == before
    modified = (store.root / fetched.path).stat().st_mtime
    changed = datetime.fromtimestamp(modified, UTC).replace(tzinfo=None)
    return fetched.offset_s == last.offset_s and changed <= last.started_at


def _insert(con: duckdb.DuckDBPyConnection, run_id: str, batch: Sequence[FetchResult]) -> None:
    if not batch:
        return
    table = pa.Table.from_pylist([to_row(f, run_id, "fetch") for f in batch], schema=ATTEMPTS)
    with transaction(con):
        con.register("new_rows", table)
        con.execute("INSERT INTO attempts BY NAME SELECT * FROM new_rows")
        con.unregister("new_rows")
        note_attempts(con, table)
