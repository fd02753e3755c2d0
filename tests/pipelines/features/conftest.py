"""Provide a store of real members, and limit torch to one thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from avstore.manifests.store import Store
from tests.manifests import synthetic
from tests.pipelines.features import media


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)


@pytest.fixture(scope="package")
def scheduler() -> Iterator[str]:
    """Start a Dask cluster with one worker in this process; return its address."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Build a store of seven clips in shards of at most three: train 3 + 3, test 1."""
    monkeypatch.setattr(synthetic, "members_of", media.members_of)
    made = Store(tmp_path / "store")
    media.add_clips(made, 7, "r1")
    return made
