"""A driver's fetch over a real store, as a process that a test can kill.

python -m tests.faults.fetch_runner STORE RATE_PER_HOUR WORKERS
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
from avstore.pipelines.fetch.outcomes import record_outcomes, wanted_clips
from tests.manifests import synthetic
from tests.pipelines.fetch.clips import QUICK, source

TOY = DatasetSpec(
    "toy", "Toy", "1", "none", "none", (), lambda _: None, list, lambda c: (MediaName(c.key),)
)


def annotate(store: Store, urls: dict[str, str]) -> None:
    """A dataset of one clip an address: the whole file behind it."""
    rows = synthetic.clip_rows(len(urls))
    for row, (key, url) in zip(rows, urls.items(), strict=True):
        row |= {"clip_id": f"toy/{key}", "key": key, "start_s": None, "end_s": None,
                "extra": {"url": url}}  # fmt: skip
    store.root.mkdir(parents=True, exist_ok=True)
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, rows)
        writer.publish()


def run(store: Store, rate_per_hour: float, workers: int) -> None:
    """Fetch what is due, as `avstore.pipelines.build.driver` does it."""
    begun = ledger.new_run("fetch toy", {})
    options = replace(QUICK, rate_per_hour=rate_per_hour, workers=workers, timeout_s=4.0)
    options = replace(options, ytdlp={"socket_timeout": 2.0})
    with writing(store), open_write(store) as writer:
        recover(writer, store)
        fetched = source("urls", store.root, options)
        wanted = wanted_clips(writer.con, TOY, fetched.rechecks, fetched.tool)
        log = AttemptLog(store.root, begun.run_id)
        rows = record_outcomes(writer.con, store, log, begun.run_id, fetched.fetch(wanted))
        for _ in rows:
            print(".", end="", flush=True)
        log.close()
        ledger.finish_run(writer.con, store, begun, "done")
        check_accounts(writer.con, "toy")
        writer.publish()


if __name__ == "__main__":
    run(Store(Path(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
