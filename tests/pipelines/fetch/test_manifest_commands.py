"""retry, status --eta and availability over a real manifest, written by real outcomes."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from avstore.datasets.spec import DatasetSpec, MediaName
from avstore.manifests.account import check_accounts
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store, StoreError
from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch import availability
from avstore.pipelines.fetch import eta as outlook
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.clock import utc_now
from avstore.pipelines.fetch.outcomes import record_outcomes, wanted_clips
from avstore.pipelines.fetch.retry import mark_for_retry, matching_failures
from avstore.pipelines.fetch.source import FetchResult
from tests.manifests import synthetic

TOY = DatasetSpec(
    "toy", "Toy", "1", "none", "none", (), lambda _: None, list, lambda c: (MediaName(c.key),)
)


def outcome(number: int, verdict: Verdict | None, tool: str = "youtube by yt-dlp 1") -> FetchResult:
    at = utc_now()
    status = POLICIES[verdict].status if verdict else "stored"
    return FetchResult(
        f"toy/k{number:05d}", status, verdict, f"said {verdict}",
        None if verdict else f"/videos/k{number:05d}.mp4", 0.0, at, 0.5, tool,
        charged=verdict is None or not POLICIES[verdict].pauses_queue,
        sha256=None if verdict else f"{number:064d}", bytes=None if verdict else 1000 + number,
    )  # fmt: skip


def record(store: Store, run_id: str, rows: list[FetchResult]) -> None:
    with writing(store), open_write(store) as writer:
        log = AttemptLog(store.root, run_id)
        list(record_outcomes(writer.con, store, log, run_id, rows))
        log.close()
        writer.publish()


def retry(store: Store, clip_ids: list[str]) -> None:
    with writing(store), open_write(store) as writer:
        mark_for_retry(writer, store, "toy", clip_ids)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """20 clips: 10 stored, 3 private, 2 timed out five times, 1 rate limited, 4 untried."""
    made = Store(tmp_path / "store")
    made.root.mkdir()
    with writing(made), open_write(made) as writer:
        synthetic.annotate(writer, made, synthetic.clip_rows(20))
        writer.publish()
    rows = [outcome(n, None) for n in range(10)]
    rows += [outcome(n, Verdict.PRIVATE) for n in (10, 11, 12)]
    rows += [outcome(n, Verdict.TIMEOUT) for n in (13, 14) for _ in range(5)]
    rows += [outcome(15, Verdict.RATE_LIMITED)]
    record(made, "r1", rows)
    return made


def due(store: Store, tool: str = "youtube by yt-dlp 2") -> list[int]:
    with open_read(store) as con:
        return [int(w.key[1:]) for w in wanted_clips(con, TOY, False, tool)]


def test_only_what_may_be_tried_again_is_due(store: Store) -> None:
    assert due(store) == [15, 16, 17, 18, 19]


def test_a_clip_that_came_after_failures_has_no_verdict(store: Store) -> None:
    record(store, "r2", [outcome(13, None)])
    with open_read(store) as con:
        row = con.execute(
            "SELECT status, verdict FROM status WHERE clip_id = 'toy/k00013' AND stage = 'fetch'"
        ).fetchone()
        check_accounts(con, "toy")
    assert row == ("stored", None)


def test_what_one_source_lacks_another_is_asked_for(store: Store) -> None:
    record(store, "r2", [outcome(16, Verdict.NOT_FOUND, "folder")])
    assert 16 in due(store)
    record(store, "r3", [outcome(17, Verdict.NOT_FOUND)])
    assert 17 not in due(store)
    record(store, "r5", [outcome(16, Verdict.NOT_FOUND)])
    assert 16 not in due(store), "now YouTube has said so itself"
    record(store, "r4", [outcome(17, Verdict.NOT_FOUND, "folder")])
    assert 17 not in due(store), "that a folder lacks it does not undo what YouTube said"


def test_retry_gives_all_attempts_back_and_keeps_the_history(store: Store) -> None:
    found = matching_failures(store, "toy", "class = 'timeout'")
    assert [row[0] for row in found] == ["toy/k00013", "toy/k00014"]
    retry(store, [row[0] for row in found])
    assert due(store) == [13, 14, 15, 16, 17, 18, 19]
    record(store, "r1b", [outcome(14, Verdict.NOT_FOUND, "folder")])
    with open_read(store) as con:
        assert con.execute(
            "SELECT status FROM status WHERE clip_id = 'toy/k00014' AND stage = 'fetch'"
        ).fetchone() == ("gone",), "a chance that was taken is not pending"
    with open_read(store) as con:
        check_accounts(con, "toy")
        (tried,) = con.execute(
            "SELECT count(*) FROM attempts WHERE error_class = 'timeout'"
        ).fetchone()
    assert tried == 10
    record(store, "r2", [outcome(13, Verdict.TIMEOUT) for _ in range(4)])
    assert 13 in due(store)
    record(store, "r3", [outcome(13, Verdict.TIMEOUT)])
    assert 13 not in due(store)
    assert matching_failures(store, "toy", "status = 'gone' AND message LIKE '%private%'")


def test_a_retry_survives_a_rebuild(store: Store) -> None:
    retry(store, ["toy/k00013"])
    store.manifest.unlink()
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        writer.publish()
    assert 13 in due(store)


@pytest.mark.parametrize("where", ["clas = 'x'", "1; DROP TABLE clips", "true) OR (true", "'"])
def test_a_condition_that_is_none_is_one_clear_error(store: Store, where: str) -> None:
    if where == "true) OR (true":
        found = matching_failures(store, "toy", where)
        assert len(found) == 6, "only ever failed clips of the dataset"
        return
    with pytest.raises(StoreError, match="--where"):
        matching_failures(store, "toy", where)


def test_the_outlook_adds_up_and_says_when_it_ends(store: Store) -> None:
    now = utc_now()
    with open_read(store) as con:
        found = outlook.outlook(con, "toy", now)
    assert (found.wanted, found.stored, found.left, found.exhausted) == (20, 10, 5, 2)
    assert found.never == (("private", 3),)
    never = sum(count for _, count in found.never)
    assert found.wanted == found.stored + found.left + found.exhausted + never
    text = "\n".join(outlook.describe(found, now))
    assert "10 of 20 clips are fetched, 5 are left" in text
    assert "3 will never come: private 3" in text
    assert "avstore retry toy" in text


def test_the_rate_is_that_of_the_last_hour(store: Store) -> None:
    with writing(store), open_write(store) as writer:
        con = writer.con
        con.execute("DELETE FROM attempts")
        now = utc_now()
        for number in range(10):  # one every 12 minutes, for two hours
            at = now - timedelta(minutes=12 * number + 1)
            con.execute(
                "INSERT INTO attempts (clip_id, stage, started_at, outcome, charged) "
                "VALUES (?, 'fetch', ?, 'stored', true)",
                [f"toy/k{number:05d}", at],
            )
        found = outlook.outlook(con, "toy", now)
    assert found.rate_per_hour == pytest.approx(5)
    assert found.eta_s == pytest.approx(2 * 3600)
    assert "takes 2 h" in "\n".join(outlook.describe(found, now))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_availability_tells_two_labs_apart(store: Store, tmp_path: Path, ending: str) -> None:
    a, b = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    with open_read(store) as con:
        assert availability.export(con, "toy", a) == 20
    # The other lab lacks the clips of class 1 but one, and has another file for clip 0.
    retry(store, ["toy/k00013"])
    rows = [replace(outcome(0, None), path="/videos/other.mp4", sha256="f" * 64)]
    rows += [outcome(n, Verdict.REMOVED) for n in (1, 3, 5, 7)]
    record(store, "r2", rows)
    with open_read(store) as con:
        availability.export(con, "toy", b)
    found = availability.compare(a, b)
    assert found.published == (20, 20, 20)
    assert (found.both, found.only_a, found.only_b, found.neither) == (6, 4, 0, 10)
    assert (found.differing, found.unknown_bytes) == (1, 0)
    assert {c.label: (c.wanted, c.stored_a, c.stored_b) for c in found.classes} == {
        "class 0": (10, 5, 5),
        "class 1": (10, 5, 1),
    }
    assert found.distance == pytest.approx(5 / 6 - 0.5)
    same = availability.compare(a, a)
    assert (same.distance, same.only_a, same.only_b) == (0.0, 0, 0)
    assert "4" in availability.describe(found, "a", "b")[1]


def test_files_that_are_no_availability_manifest(store: Store, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("video,label\nx,y\n")
    with pytest.raises(StoreError, match="has no column clip_id"):
        availability.compare(wrong, wrong)
    with pytest.raises(StoreError, match="no availability manifest"):
        availability.compare(tmp_path / "absent.parquet", wrong)
    with open_read(store) as con:
        with pytest.raises(StoreError, match=r"neither \.csv nor \.parquet"):
            availability.export(con, "toy", tmp_path / "x.xlsx")
        with pytest.raises(StoreError, match="holds no dataset"):
            availability.export(con, "toys", tmp_path / "x.csv")
