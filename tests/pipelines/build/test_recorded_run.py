"""Record the outcome of a run, however it ends."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from avstore.manifests import ledger
from avstore.manifests.catalogue import open_write
from avstore.manifests.library import open_store
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.build.meter import no_progress
from avstore.pipelines.build.progress import PublishedProgress, read_progress
from avstore.pipelines.build.recorded_run import recorded_run


class StoppedError(Exception):
    """An error of a run."""


@pytest.mark.parametrize(
    ("error", "failed", "outcome"),
    [
        (None, False, "done"),
        (None, True, "failed"),
        (StoppedError, False, "failed"),
        (KeyboardInterrupt, False, "interrupted"),
    ],
)
def test_ledger_manifest_and_progress_have_the_outcome(
    error: type[BaseException] | None, failed: bool, outcome: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    with writing(store, 0), open_write(store) as writer:
        progress = PublishedProgress(store, "vggsound", no_progress)
        expected = pytest.raises(error) if error else nullcontext()
        run = ledger.new_run("test", {})
        with expected, recorded_run(writer, store, run, progress) as recorded:
            assert recorded.run_id == run.run_id
            recorded.failed = failed
            if error:
                raise error
    published = read_progress(store)
    assert published is not None
    assert published[0] == outcome
    (row,) = open_store(tmp_path).query("SELECT run_id, outcome FROM runs").rows()
    assert row == {"run_id": run.run_id, "outcome": outcome}
