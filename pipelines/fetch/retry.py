"""Another chance for clips that were given up or wait: chosen by SQL, told to the ledger."""

import duckdb

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.clock import utc_now
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.source import FetchResult

#: What --where sees: one row a clip that was tried and is not there.
FAILURES = """
    SELECT c.clip_id, c.key, c.source_id, c.split, c.labels, c.category, c.position,
           f.outcome AS status, f.error_class AS class, a.error_message AS message, f.attempts,
           f.not_before, f.started_at AS tried_at, f.tool_version AS tool
    FROM clips c
    JOIN last_fetch f USING (clip_id)
    JOIN attempts a ON a.clip_id = c.clip_id AND a.stage = 'fetch' AND a.started_at = f.started_at
    WHERE c.dataset = ? AND f.outcome IN ('gone', 'retryable', 'rejected')
"""


def matching(store: Store, dataset: str, where: str) -> list[tuple[str, str, str]]:
    """(clip_id, class, message) of the failed clips that `where` chooses, in annotation order.

    Raises StoreError where the condition is no SQL that fits.
    """
    with open_read(store) as con:
        try:
            return con.execute(
                f"SELECT clip_id, class, message FROM ({FAILURES}) WHERE ({where}) "
                "ORDER BY position",
                [dataset],
            ).fetchall()
        except duckdb.Error as error:
            columns = [row[0] for row in con.execute(f"DESCRIBE {FAILURES}", [dataset]).fetchall()]
            raise StoreError(
                f"--where {where!r} cannot be asked: {str(error).splitlines()[0]}; "
                f"columns are {', '.join(columns)}"
            ) from error


def give_another_chance(store: Store, dataset: str, clip_ids: list[str], wait_s: float) -> None:
    """Make clips due at once, with no attempt charged to them. Raises StoreBusyError.

    A clip's failure stays in the ledger; a row with outcome 'pending' follows it.
    """
    if not clip_ids:
        return
    run = ledger.new_run(f"retry {dataset}", {"clips": len(clip_ids)})
    with writing(store, wait_s), open_write(store) as writer:
        recover(writer, store)
        log = AttemptLog(store.root, run.run_id)
        rows = (_chance(clip_id) for clip_id in clip_ids)
        try:
            for _ in record_outcomes(writer.con, store, log, run.run_id, rows):
                pass
        finally:
            log.close()
        ledger.finish_run(writer.con, store, run, "done")
        writer.publish()


def _chance(clip_id: str) -> FetchResult:
    return FetchResult(
        clip_id=clip_id,
        status="pending",
        verdict=None,
        message="given another chance",
        path=None,
        offset_s=0.0,
        started_at=utc_now(),
        seconds=0.0,
        tool_version="retry",
        charged=False,
    )
