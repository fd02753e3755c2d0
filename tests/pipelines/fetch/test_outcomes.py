"""What a source is asked for, and how its outcomes reach ledger and manifest."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from avstore.datasets.spec import Annotations, DatasetSpec, MediaName
from avstore.manifests.catalogue import open_write
from avstore.manifests.ledger import now
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.verdicts import Verdict
from avstore.manifests.verify import verify
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.outcomes import record_outcomes, wanted_clips
from avstore.pipelines.fetch.source import FetchResult
from tests.manifests import synthetic

TOY = DatasetSpec(
    name="toy",
    title="Toy",
    version="1",
    licence="none",
    homepage="",
    annotation_urls=(),
    parse=lambda _paths: Annotations(clips=()),
    vocabulary=lambda: (),
    media_names=lambda clip: (MediaName(clip.key),),
)


@pytest.fixture
def begun(tmp_path: Path):
    """Four clips, none of them fetched; (writer, store)."""
    store = Store(tmp_path / "store")
    store.root.mkdir()
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, synthetic.clip_rows(4))
        yield writer, store


def outcome(
    number: int, status: str, verdict: Verdict | None = None, **more: object
) -> FetchResult:
    made = FetchResult(f"toy/k{number:05d}", status, verdict, "", None, 0.0, now(), 0.1, "test")
    return replace(made, **more)


def record(begun, run_id: str, *outcomes: FetchResult) -> None:
    writer, store = begun
    log = AttemptLog(store.root, run_id)
    list(record_outcomes(writer.con, store, log, run_id, outcomes))
    log.close()
    assert [p.what for p in verify(writer.con, store) if "status says" in p.what] == []


def wanted(begun, everything: bool = False) -> list[str]:
    return [w.key[-1] for w in wanted_clips(begun[0].con, TOY, everything)]


def test_only_what_is_due_is_asked_for(begun) -> None:
    assert wanted(begun) == ["0", "1", "2", "3"]
    later = now() + timedelta(hours=1)
    record(
        begun,
        "r1",
        outcome(0, "stored", path="raw/a.mp4"),
        outcome(1, "gone", Verdict.PRIVATE),
        outcome(2, "retryable", Verdict.TIMEOUT, not_before=later),
        outcome(3, "retryable", Verdict.TIMEOUT, not_before=now()),
    )
    assert wanted(begun) == ["3"]
    assert wanted(begun, everything=True) == ["0", "1", "2", "3"]


def test_attempts_that_are_charged_run_out(begun) -> None:
    for run in range(5):
        record(begun, f"r{run}", outcome(0, "retryable", Verdict.TIMEOUT))
    assert wanted(begun) == ["1", "2", "3"]
    for run in range(9):
        record(begun, f"b{run}", outcome(1, "retryable", Verdict.BOT_CHECK, charged=False))
    assert wanted(begun) == ["1", "2", "3"]


def test_the_latest_attempt_counts_whole(begun) -> None:
    writer, _ = begun
    record(begun, "r1", outcome(0, "gone", Verdict.PRIVATE))
    record(begun, "r2", outcome(0, "stored", path="raw/a.mp4"))
    query = "SELECT status, verdict, attempts FROM status WHERE clip_id = ? AND stage = 'fetch'"
    assert writer.con.execute(query, ["toy/k00000"]).fetchall() == [("stored", None, 2)]
    record(begun, "r3", outcome(0, "gone", Verdict.REMOVED, started_at=now() - timedelta(days=1)))
    assert writer.con.execute(query, ["toy/k00000"]).fetchall() == [("stored", None, 3)]


def test_attempts_of_a_run_that_was_killed_are_taken_in(begun) -> None:
    from avstore.pipelines.build.recovery import recover

    writer, store = begun
    writer.publish()
    log = AttemptLog(store.root, "dead")
    log.append(outcome(0, "gone", Verdict.PRIVATE))  # and killed: never folded, never told
    recover(writer, store)
    assert wanted(begun) == ["1", "2", "3"]
    recover(writer, store)
    assert writer.con.execute("SELECT count(*) FROM attempts").fetchall() == [(1,)]
