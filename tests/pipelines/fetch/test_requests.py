"""Test which clips are requested from a source."""

from dataclasses import replace

from avstore.manifests.account import check_accounts
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verdicts import Verdict
from avstore.manifests.verify import verify
from tests.pipelines.fetch.recorded_store import due_clips, make_result, record


def test_only_untried_and_retryable_clips_are_requested(recorded_store: Store) -> None:
    assert due_clips(recorded_store) == [15, 16, 17, 18, 19]


def test_a_clip_stored_after_failures_has_no_verdict(recorded_store: Store) -> None:
    record(recorded_store, "r2", [make_result(13, None)])
    with open_read(recorded_store) as con:
        row = con.execute(
            "SELECT status, verdict FROM status WHERE clip_id = 'toy/k00013' AND stage = 'fetch'"
        ).fetchone()
        check_accounts(con, "toy")
    assert row == ("stored", None)


def test_a_clip_missing_from_one_source_is_requested_from_another(recorded_store: Store) -> None:
    record(recorded_store, "r2", [make_result(16, Verdict.NOT_IN_SOURCE, "folder")])
    assert 16 in due_clips(recorded_store)
    record(recorded_store, "r3", [make_result(17, Verdict.NOT_FOUND)])
    assert 17 not in due_clips(recorded_store)
    record(recorded_store, "r5", [make_result(16, Verdict.NOT_FOUND)])
    assert 16 not in due_clips(recorded_store), "YouTube itself does not have it"
    record(recorded_store, "r4", [make_result(17, Verdict.NOT_IN_SOURCE, "folder")])
    assert 17 not in due_clips(recorded_store), "a folder's lack does not undo YouTube's answer"


def test_what_older_versions_called_gone_from_a_folder_is_absent(recorded_store: Store) -> None:
    old = replace(make_result(16, Verdict.NOT_FOUND, "folder"), status="gone")
    record(recorded_store, "r2", [old])
    with open_read(recorded_store) as con:
        row = con.execute(
            "SELECT status, verdict FROM status WHERE clip_id = 'toy/k00016' AND stage = 'fetch'"
        ).fetchone()
        assert row == ("absent", "not_in_source")
        check_accounts(con, "toy")
        assert [p.what for p in verify(con, recorded_store) if "status says" in p.what] == []
    assert 16 in due_clips(recorded_store)
