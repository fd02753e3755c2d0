"""Select failed clips by an SQL condition and mark them for another attempt."""

from pathlib import Path

import duckdb

from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer, open_read
from avstore.manifests.path_text import text_path
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.source import FetchResult

#: What --where sees: one row for each clip whose latest fetch failed, or whose extraction did.
FAILURES = """
    SELECT c.clip_id, c.key, c.source_id, c.split, c.labels, c.category, c.position,
           f.outcome AS status, f.error_class AS class, a.error_message AS message, f.attempts,
           f.not_before, f.started_at AS tried_at, f.tool_version AS tool
    FROM clips c
    JOIN last_fetch f USING (clip_id)
    JOIN attempts a ON a.clip_id = c.clip_id AND a.stage = 'fetch' AND a.seq = f.seq
    WHERE c.dataset = $dataset AND f.outcome IN ('gone', 'absent', 'retryable', 'rejected')
    UNION ALL
    SELECT c.clip_id, c.key, c.source_id, c.split, c.labels, c.category, c.position,
           s.status, s.verdict, q.detail, s.attempts, s.not_before, s.updated_at, s.stage
    FROM clips c
    JOIN stages g ON g.dataset = c.dataset
    JOIN status s ON s.clip_id = c.clip_id AND s.stage = g.stage
    JOIN quality q ON q.clip_id = c.clip_id AND q.fingerprint = g.fingerprint
    WHERE c.dataset = $dataset AND s.status IN ('retryable', 'rejected')
"""
# Latest fetches whose media can be extracted again without another fetch.
_STORED = """
    SELECT clip_id, path, offset_s, tool_version FROM last_fetch
    WHERE outcome = 'stored' AND path IS NOT NULL AND clip_id IN (SELECT unnest($ids))
"""


def matching_failures(store: Store, dataset: str, where: str) -> list[tuple[str, str, str]]:
    """Return the failed clips of a dataset that match an SQL condition.

    Args:
        store: The store to query.
        dataset: The dataset's name.
        where: An SQL condition on the columns of `FAILURES`.

    Returns:
        (clip_id, class, message) of each failure, in annotation order.

    Raises:
        StoreError: `where` is not a valid condition on these columns.
    """
    with open_read(store) as con:
        try:
            return con.execute(
                f"SELECT clip_id, class, message FROM ({FAILURES}) WHERE ({where}) "
                "ORDER BY position",
                {"dataset": dataset},
            ).fetchall()
        except duckdb.Error as error:
            columns = [
                row[0]
                for row in con.execute(f"DESCRIBE {FAILURES}", {"dataset": dataset}).fetchall()
            ]
            raise StoreError(
                f"--where {where!r} is not a valid SQL condition: {str(error).splitlines()[0]}; "
                f"the columns are {', '.join(columns)}"
            ) from error


def mark_for_retry(writer: Writer, store: Store, dataset: str, clip_ids: list[str]) -> None:
    """Make failed clips due at once and reset their attempt counts.

    Their earlier attempts stay in the ledger. Each clip gets a row: its stored fetch once more if
    the file is still there, so that it is extracted again, otherwise one with outcome 'pending'.

    Args:
        writer: The open manifest, recovered, with the store's lock held.
        store: The store of `writer`.
        dataset: The dataset's name, for the record of the run.
        clip_ids: The clips to mark.
    """
    run = ledger.new_run(f"retry {dataset}", {"clips": len(clip_ids)})
    log = AttemptLog(store.root, run.run_id)
    stored = {
        clip_id: _stored_result(clip_id, path, *rest)
        for clip_id, recorded, *rest in writer.con.execute(_STORED, {"ids": clip_ids}).fetchall()
        if (path := store.root / text_path(recorded)).is_file()
    }
    rows = [
        stored.get(clip_id) or pending_result(clip_id, "marked for retry")
        for clip_id in dict.fromkeys(clip_ids)
    ]
    try:
        outcomes = record_outcomes(writer.con, store, log, run.run_id, rows, keep_repeats=True)
        for _ in outcomes:
            pass
    finally:
        log.close()
    ledger.finish_run(writer.con, store, run, "done")
    writer.publish()


def _stored_result(clip_id: str, path: Path, offset_s: float, tool_version: str) -> FetchResult:
    return FetchResult(
        clip_id=clip_id,
        status="stored",
        verdict=None,
        message="marked for extraction",
        path=str(path),
        offset_s=offset_s,
        started_at=ledger.now(),
        seconds=0.0,
        tool_version=tool_version,
        charged=False,
    )


def pending_result(clip_id: str, message: str) -> FetchResult:
    """Return a result that makes a clip due at once and resets its count of attempts."""
    return FetchResult(
        clip_id=clip_id,
        status="pending",
        verdict=None,
        message=message,
        path=None,
        offset_s=0.0,
        started_at=ledger.now(),
        seconds=0.0,
        tool_version="retry",
        charged=False,
    )
