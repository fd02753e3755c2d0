"""Test that a clock that is set back or wrong changes no outcome, only displayed times."""

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from avstore.manifests import ledger, schema
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.build import planner
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.requests import select_requests
from avstore.pipelines.fetch.retry import mark_for_retry, matching_failures
from avstore.pipelines.fetch.source import FetchResult
from tests.manifests import synthetic
from tests.pipelines.fetch.test_outcomes import TOY

CLIP = "toy/k00000"
NOON = datetime(2026, 11, 1, 12)
STEPS = [timedelta(), timedelta(hours=-1), timedelta(days=-4000), timedelta(days=5000)]


class Clock:
    """A clock that the test sets; nothing sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = NOON
        for name in ("manifests.ledger", "pipelines.fetch.requests", "pipelines.fetch.attempt"):
            monkeypatch.setattr(f"avstore.{name}.now", self.now)

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    made = Store(tmp_path / "store")
    made.root.mkdir()
    with writing(made), open_write(made) as writer:
        synthetic.annotate(writer, made, synthetic.clip_rows(4))
        writer.publish()
    return made


def record(store: Store, clock: Clock, status: str, verdict: Verdict | None = None, **more) -> None:
    with writing(store), open_write(store) as writer:
        run = ledger.new_run("fetch toy", {})
        log = AttemptLog(store.root, run.run_id)
        result = FetchResult(CLIP, status, verdict, "", None, 0.0, clock.now(), 0.1, "test", **more)
        list(record_outcomes(writer.con, store, log, run.run_id, [result]))
        log.close()
        ledger.finish_run(writer.con, store, run, "done")
        writer.publish()


def states(store: Store) -> list[tuple]:
    """Return a clip's state in the published manifest, and check that a rebuild gives the same."""
    query = "SELECT stage, status, verdict, attempts FROM status WHERE clip_id = ? ORDER BY stage"
    with open_read(store) as con:
        before = con.execute(query, [CLIP]).fetchall()
        assert con.execute("SELECT * FROM status EXCEPT FROM derived_status").fetchall() == []
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        assert writer.con.execute(query, [CLIP]).fetchall() == before
    return before


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_clip_that_is_found_after_the_clock_was_set_is_stored(
    store: Store, clock: Clock, step: timedelta
) -> None:
    record(store, clock, "gone", Verdict.PRIVATE)
    clock.at += step
    record(store, clock, "stored")
    assert states(store)[0][:3] == ("fetch", "stored", None)
    with open_read(store) as con:
        assert con.execute(
            "SELECT count(*) FROM changes_by_stage WHERE clip_id = ?", [CLIP]
        ).fetchone() == (1,)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_retry_resets_the_attempts_whatever_the_clock_says(
    store: Store, clock: Clock, step: timedelta
) -> None:
    for _ in range(5):
        record(store, clock, "retryable", Verdict.TIMEOUT)
    assert matching_failures(store, "toy", "class = 'timeout'")[0][0] == CLIP
    clock.at += step
    with writing(store), open_write(store) as writer:
        mark_for_retry(writer, store, "toy", [CLIP])
    record(store, clock, "retryable", Verdict.TIMEOUT)
    assert states(store)[0] == ("fetch", "retryable", "timeout", 1)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_clip_rejected_and_fetched_again_is_planned_again(
    store: Store, clock: Clock, step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, clock, "stored")
    with writing(store), open_write(store) as writer:
        synthetic.build(writer, store, "b1", rejected=frozenset({CLIP}))
        assert planner.plan_new(writer.con, "toy", synthetic.STAGE, 4).num_rows == 0
        writer.publish()
    clock.at += step
    # As by the sequence of a real run, which goes on after the extraction's number.
    record(store, clock, "stored")
    with writing(store), open_write(store) as writer:
        assert planner.plan_new(writer.con, "toy", synthetic.STAGE, 4).num_rows == 1
        synthetic.build(writer, store, "b2")
        writer.publish()
    assert states(store)[1][:3] == (synthetic.STAGE, "stored", None)


def test_a_wait_does_not_last_longer_because_the_clock_was_wrong(
    store: Store, clock: Clock
) -> None:
    clock.at += timedelta(days=5000)
    later = clock.at + timedelta(minutes=5)
    record(store, clock, "retryable", Verdict.TIMEOUT, not_before=later)

    def due() -> bool:
        with open_read(store) as con:
            return CLIP in [request.clip_id for request in select_requests(con, TOY, False)]

    assert not due()
    clock.at -= timedelta(days=5000)
    assert due()


def test_attempts_of_older_versions_come_first_in_the_order_of_their_times(
    store: Store, clock: Clock
) -> None:
    record(store, clock, "gone", Verdict.PRIVATE)
    record(store, clock, "stored")
    for path in store.ledger.glob("attempts-*.parquet"):
        with duckdb.connect() as con:
            table = con.sql(f"SELECT * EXCLUDE (seq, modified_at) FROM '{path}'").to_arrow_table()
        ledger.write_parquet(path, table)
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        writer.publish()
    assert states(store)[0][:2] == ("fetch", "stored")
    clock.at -= timedelta(days=9000)
    record(store, clock, "gone", Verdict.REMOVED)
    assert states(store)[0][:3] == ("fetch", "gone", "removed")
    assert schema.SCHEMA_VERSION >= 6
