"""The driver's side of fetching: what to ask for, and how outcomes reach ledger and manifest."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from av_datasets.spec import Clip, DatasetSpec
from manifests.ingest import refresh_status, transaction
from manifests.ledger import now
from manifests.store import Store
from manifests.verdicts import POLICIES, Verdict
from pipelines.fetch.base import Fetched, Wanted
from pipelines.fetch.ledger import AttemptLog

_BATCH = 1000


@dataclass(frozen=True)
class _Last:
    """What the manifest knows of a clip's latest fetch."""

    outcome: str
    path: str | None
    offset_s: float | None
    started_at: datetime


def wanted_clips(
    con: duckdb.DuckDBPyConnection, spec: DatasetSpec, everything: bool
) -> list[Wanted]:
    """Clips to ask the source for, in annotation order.

    everything: also those already fetched or gone (a folder is looked through anew each time);
    else only what never was tried, and what may be tried again now.
    """
    rows = con.execute(
        """
        SELECT c.clip_id, c.key, c.source_id, c.start_s, c.end_s, c.split, c.labels, c.extra,
               coalesce(f.attempts, 0), f.outcome, f.error_class, f.not_before
        FROM clips c LEFT JOIN last_fetch f USING (clip_id)
        WHERE c.dataset = ? ORDER BY c.position
        """,
        [spec.name],
    ).fetchall()
    at = now()
    return [_wanted(spec, row) for row in rows if everything or _due(row[8:], at)]


def _due(state: tuple[int, str | None, str | None, datetime | None], at: datetime) -> bool:
    attempts, outcome, verdict, not_before = state
    if outcome is None:
        return True
    if outcome != "retryable" or (not_before is not None and not_before > at):
        return False
    limit = POLICIES[Verdict(verdict or "unknown")].max_attempts
    return limit is None or attempts < limit


def _wanted(spec: DatasetSpec, row: tuple[object, ...]) -> Wanted:
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
    return Wanted(
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
    outcomes: Iterable[Fetched],
) -> Iterator[Fetched]:
    """Write each outcome down (ledger at once, manifest in batches) and pass it on.

    An outcome that only repeats what is known (same file, not changed since) is passed on alone,
    and so is one source's not having what another has given.
    """
    known = _known(con)
    batch: list[Fetched] = []
    try:
        for outcome in outcomes:
            fetched = _within(store, outcome)
            if not _repeats(store, fetched, known.get(fetched.clip_id)):
                log.append(fetched)
                batch.append(fetched)
            if len(batch) >= _BATCH:
                _insert(con, run_id, batch)
                batch = []
            yield fetched
    finally:
        _insert(con, run_id, batch)


def _known(con: duckdb.DuckDBPyConnection) -> dict[str, _Last]:
    rows = con.execute(
        "SELECT clip_id, outcome, path, offset_s, started_at FROM last_fetch"
    ).fetchall()
    return {row[0]: _Last(*row[1:]) for row in rows}


def _within(store: Store, fetched: Fetched) -> Fetched:
    """Paths inside the store are kept relative to it, so that a store can be moved."""
    if fetched.path is None:
        return fetched
    path, root = Path(fetched.path).absolute(), store.root.absolute()
    kept = path.relative_to(root) if path.is_relative_to(root) else path
    return replace(fetched, path=str(kept))


def _repeats(store: Store, fetched: Fetched, last: _Last | None) -> bool:
    if last is None:
        return False
    if fetched.status == "gone" and last.outcome == "stored" and last.path:
        return (store.root / last.path).is_file()  # another source has it; this one need not
    if fetched.status != last.outcome or fetched.path != last.path:
        return False
    if fetched.path is None:
        return fetched.status == "gone"
    modified = (store.root / fetched.path).stat().st_mtime
    changed = datetime.fromtimestamp(modified, UTC).replace(tzinfo=None)
    return fetched.offset_s == last.offset_s and changed <= last.started_at


def _insert(con: duckdb.DuckDBPyConnection, run_id: str, batch: Sequence[Fetched]) -> None:
    if not batch:
        return
    rows = [
        {
            "clip_id": f.clip_id,
            "stage": "fetch",
            "started_at": f.started_at,
            "seconds": f.seconds,
            "outcome": f.status,
            "error_class": f.verdict.value if f.verdict else None,
            "error_message": f.message or None,
            "tool_version": f.tool_version,
            "run_id": run_id,
            "path": f.path,
            "offset_s": f.offset_s,
            "not_before": f.not_before,
            "charged": f.charged,
        }
        for f in batch
    ]
    with transaction(con):
        con.register("new_attempts", pa.Table.from_pylist(rows, schema=ATTEMPTS))
        con.execute("INSERT INTO attempts BY NAME SELECT * FROM new_attempts")
        con.unregister("new_attempts")
        refresh_status(con, pa.table({"clip_id": [f.clip_id for f in batch]}))


ATTEMPTS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("stage", pa.string()),
        ("started_at", pa.timestamp("us")),
        ("seconds", pa.float64()),
        ("outcome", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("tool_version", pa.string()),
        ("run_id", pa.string()),
        ("path", pa.string()),
        ("offset_s", pa.float64()),
        ("not_before", pa.timestamp("us")),
        ("charged", pa.bool_()),
    ]
)
