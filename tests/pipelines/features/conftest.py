"""A store of real members, and one thread for torch."""

from pathlib import Path

import pytest

from avstore.manifests.store import Store
from tests.manifests import synthetic
from tests.pipelines.features import media


@pytest.fixture(autouse=True)
def _one_thread():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Seven clips in shards of three by split: train 3 + 3, test 1."""
    monkeypatch.setattr(synthetic, "members_of", media.members_of)
    made = Store(tmp_path / "store")
    media.add_clips(made, 7, "r1")
    return made
