"""A store with recorded fetch results, for the tests of what follows from them."""

from pathlib import Path

from avstore.datasets.spec import DatasetSpec, MediaName
from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.ledger import now
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.requests import select_requests
from avstore.pipelines.fetch.retry import mark_for_retry
from avstore.pipelines.fetch.source import FetchResult
from tests.manifests import synthetic

TOY = DatasetSpec(
    "toy", "Toy", "1", "none", "none", (), lambda _: None, list, lambda c: (MediaName(c.key),)
)


def make_result(
    number: int, verdict: Verdict | None, tool: str = "youtube by yt-dlp 1"
) -> FetchResult:
    """Return a result for clip `number`: stored where `verdict` is None, else failed."""
    status = POLICIES[verdict].status if verdict else "stored"
    return FetchResult(
        f"toy/k{number:05d}", status, verdict, f"message of {verdict}",
        None if verdict else f"/videos/k{number:05d}.mp4", 0.0, now(), 0.5, tool,
        charged=verdict is None or not POLICIES[verdict].pauses_queue,
        sha256=None if verdict else f"{number:064d}", bytes=None if verdict else 1000 + number,
    )  # fmt: skip


def record(store: Store, run_id: str, results: list[FetchResult]) -> None:
    """Record results as a run would."""
    with writing(store), open_write(store) as writer:
        log = AttemptLog(store.root, run_id)
        list(record_outcomes(writer.con, store, log, run_id, results))
        log.close()
        writer.publish()


def retry(store: Store, clip_ids: list[str]) -> None:
    """Mark clips for another attempt as `avstore retry` would."""
    with writing(store), open_write(store) as writer:
        mark_for_retry(writer, store, "toy", clip_ids)


def due_clips(store: Store, tool: str = "youtube by yt-dlp 2") -> list[int]:
    """Return the numbers of the clips that the next run requests."""
    with open_read(store) as con:
        return [int(request.key[1:]) for request in select_requests(con, TOY, False, tool)]


def make_recorded_store(root: Path) -> Store:
    """Create a store of 20 clips with some recorded results.

    10 are stored, 3 private, 2 timed out five times, 1 rate limited, and 4 were never tried.
    """
    store = Store(root)
    store.root.mkdir()
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, synthetic.clip_rows(20))
        writer.publish()
    results = [make_result(n, None) for n in range(10)]
    results += [make_result(n, Verdict.PRIVATE) for n in (10, 11, 12)]
    results += [make_result(n, Verdict.TIMEOUT) for n in (13, 14) for _ in range(5)]
    results += [make_result(15, Verdict.RATE_LIMITED)]
    record(store, "r1", results)
    return store
