"""Record how a run began and ended."""

from collections.abc import Iterator
from contextlib import contextmanager

from avstore.manifests import ledger
from avstore.manifests.catalogue import Writer
from avstore.manifests.store import Store
from avstore.pipelines.build.progress import PublishedProgress, RunState


class RecordedRun:
    """A run in the ledger.

    Attributes:
        run_id: The run.
        failed: Set it if the run ends without an exception, and yet not as it should.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.failed = False


@contextmanager
def recorded_run(
    writer: Writer, store: Store, run: ledger.RunRecord, progress: PublishedProgress | None = None
) -> Iterator[RecordedRun]:
    """Record the start of a run in the ledger; at the end its outcome, and publish the manifest.

    An exception makes the outcome "failed", Ctrl-C "interrupted".

    Args:
        writer: The manifest.
        store: The store, whose lock is held.
        run: The run, as `ledger.new_run` returned it.
        progress: The run's published progress, ended with the same outcome.
    """
    run = ledger.start_run(writer.con, store, run)
    recorded = RecordedRun(run.run_id)
    outcome: RunState = "failed"
    try:
        yield recorded
        outcome = "failed" if recorded.failed else "done"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        ledger.finish_run(writer.con, store, run, outcome)
        writer.publish()
        if progress:
            progress.end(outcome)
