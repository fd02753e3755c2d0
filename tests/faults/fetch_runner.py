"""Run a driver's fetch over a real store, as a process that a test can kill.

Usage: python -m tests.faults.fetch_runner STORE RATE_PER_HOUR WORKERS
"""

import sys
from dataclasses import replace
from pathlib import Path

from avstore.datasets.spec import DatasetSpec, MediaName
from avstore.manifests import ledger
from avstore.manifests.account import check_accounts
from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.fetch.attempt_log import AttemptLog
from avstore.pipelines.fetch.outcomes import record_outcomes
from avstore.pipelines.fetch.requests import select_requests
from tests.manifests import synthetic
from tests.pipelines.fetch.clips import QUICK, make_source

TOY = DatasetSpec(
    "toy", "Toy", "1", "none", "none", (), lambda _: None, list, lambda c: (MediaName(c.key),)
)


def annotate(store: Store, urls: dict[str, str]) -> None:
    """Create a dataset with one clip per URL, the whole file, from URLs by key."""
    rows = synthetic.clip_rows(len(urls))
    for row, (key, url) in zip(rows, urls.items(), strict=True):
        row |= {"clip_id": f"toy/{key}", "key": key, "start_s": None, "end_s": None,
                "extra": {"url": url}}  # fmt: skip
    store.root.mkdir(parents=True, exist_ok=True)
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, rows)
        writer.publish()


def run(store: Store, rate_per_hour: float, workers: int) -> None:
    """Fetch the due clips as `avstore.pipelines.build.driver` does."""
    facts = ledger.new_run("fetch toy", {})
    # Long enough for a busy machine, short enough for the clips whose server never answers.
    options = replace(
        QUICK,
        rate_per_hour=rate_per_hour,
        workers=workers,
        timeout_s=8.0,
        ytdlp={"socket_timeout": 6.0},
    )
    with writing(store), open_write(store) as writer:
        recover(writer, store)
        source = make_source("urls", store.root, options)
        requests = select_requests(writer.con, TOY, source.rechecks, source.tool)
        log = AttemptLog(store.root, facts.run_id)
        results = source.fetch(requests)
        for _ in record_outcomes(writer.con, store, log, facts.run_id, results):
            print(".", end="", flush=True)
        log.close()
        ledger.finish_run(writer.con, store, facts, "done")
        check_accounts(writer.con, "toy")
        writer.publish()


if __name__ == "__main__":
    run(Store(Path(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
