"""Test `avstore retry`: failed clips are selected by SQL and become due again."""

import pytest

from avstore.manifests.account import check_accounts
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.retry import matching_failures
from tests.pipelines.fetch.recorded_store import due_clips, make_result, record, retry


def test_retry_resets_the_attempts_and_keeps_the_history(recorded_store: Store) -> None:
    failures = matching_failures(recorded_store, "toy", "class = 'timeout'")
    assert [clip_id for clip_id, *_ in failures] == ["toy/k00013", "toy/k00014"]
    retry(recorded_store, [clip_id for clip_id, *_ in failures])
    assert due_clips(recorded_store) == [13, 14, 15, 16, 17, 18, 19]
    record(recorded_store, "r1b", [make_result(14, Verdict.NOT_IN_SOURCE, "folder")])
    with open_read(recorded_store) as con:
        assert con.execute(
            "SELECT status FROM status WHERE clip_id = 'toy/k00014' AND stage = 'fetch'"
        ).fetchone() == ("absent",), "a result replaces the status pending"
    with open_read(recorded_store) as con:
        check_accounts(con, "toy")
        (attempts,) = con.execute(
            "SELECT count(*) FROM attempts WHERE error_class = 'timeout'"
        ).fetchone()
    assert attempts == 10
    record(recorded_store, "r2", [make_result(13, Verdict.TIMEOUT) for _ in range(4)])
    assert 13 in due_clips(recorded_store)
    record(recorded_store, "r3", [make_result(13, Verdict.TIMEOUT)])
    assert 13 not in due_clips(recorded_store)
    assert matching_failures(recorded_store, "toy", "status = 'gone' AND message LIKE '%private%'")


def test_a_retry_survives_a_rebuild(recorded_store: Store) -> None:
    retry(recorded_store, ["toy/k00013"])
    recorded_store.manifest.unlink()
    with writing(recorded_store), open_write(recorded_store, fresh=True) as writer:
        rebuild(writer, recorded_store)
        writer.publish()
    assert 13 in due_clips(recorded_store)


@pytest.mark.parametrize("where", ["clas = 'x'", "1; DROP TABLE clips", "'"])
def test_an_invalid_condition_raises_a_clear_error(recorded_store: Store, where: str) -> None:
    with pytest.raises(StoreError, match="--where"):
        matching_failures(recorded_store, "toy", where)


def test_no_condition_matches_more_than_the_datasets_failures(recorded_store: Store) -> None:
    assert len(matching_failures(recorded_store, "toy", "true) OR (true")) == 6
