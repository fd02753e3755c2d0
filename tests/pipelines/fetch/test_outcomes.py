"""Test that results reach the ledger and the manifest, and which clips remain to request."""

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
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.fetch.attempt_log import AttemptLog, to_row
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.requests import select_requests
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
def opened(tmp_path: Path):
    """Yield (writer, store) with four clips, none of them fetched."""
    store = Store(tmp_path / "store")
    store.root.mkdir()
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, synthetic.clip_rows(4))
        yield writer, store


def make_result(
    number: int, status: str, verdict: Verdict | None = None, **changes: object
) -> FetchResult:
    result = FetchResult(f"toy/k{number:05d}", status, verdict, "", None, 0.0, now(), 0.1, "test")
    return replace(result, **changes)


def record(opened, run_id: str, *results: FetchResult) -> None:
    writer, store = opened
    log = AttemptLog(store.root, run_id)
    list(record_outcomes(writer.con, store, log, run_id, results))
    log.close()
    assert [p.what for p in verify(writer.con, store) if "status says" in p.what] == []


def requested(opened, everything: bool = False) -> list[str]:
    return [request.key[-1] for request in select_requests(opened[0].con, TOY, everything)]


def test_only_due_clips_are_requested(opened) -> None:
    assert requested(opened) == ["0", "1", "2", "3"]
    later = now() + timedelta(hours=1)
    record(
        opened,
        "r1",
        make_result(0, "stored", path="raw/a.mp4"),
        make_result(1, "gone", Verdict.PRIVATE),
        make_result(2, "retryable", Verdict.TIMEOUT, not_before=later),
        make_result(3, "retryable", Verdict.TIMEOUT, not_before=now()),
    )
    assert requested(opened) == ["3"]
    assert requested(opened, everything=True) == ["0", "1", "2", "3"]


def test_charged_attempts_are_limited(opened) -> None:
    for run in range(5):
        record(opened, f"r{run}", make_result(0, "retryable", Verdict.TIMEOUT))
    assert requested(opened) == ["1", "2", "3"]
    for run in range(9):
        record(opened, f"b{run}", make_result(1, "retryable", Verdict.BOT_CHECK, charged=False))
    assert requested(opened) == ["1", "2", "3"]


def test_the_latest_attempt_decides_the_status(opened) -> None:
    writer, _ = opened
    record(opened, "r1", make_result(0, "gone", Verdict.PRIVATE))
    record(opened, "r2", make_result(0, "stored", path="raw/a.mp4"))
    query = "SELECT status, verdict, attempts FROM status WHERE clip_id = ? AND stage = 'fetch'"
    assert writer.con.execute(query, ["toy/k00000"]).fetchall() == [("stored", None, 2)]
    record(
        opened, "r3", make_result(0, "gone", Verdict.REMOVED, started_at=now() - timedelta(days=1))
    )
    assert writer.con.execute(query, ["toy/k00000"]).fetchall() == [("gone", "removed", 3)]


def test_attempts_of_a_killed_run_are_recovered(opened) -> None:
    writer, store = opened
    writer.publish()
    log = AttemptLog(store.root, "dead")
    log.append(
        to_row(make_result(0, "gone", Verdict.PRIVATE), "dead", 1)
    )  # and killed before closing the log
    recover(writer, store)
    assert requested(opened) == ["1", "2", "3"]
    recover(writer, store)
    assert writer.con.execute("SELECT count(*) FROM attempts").fetchall() == [(1,)]
