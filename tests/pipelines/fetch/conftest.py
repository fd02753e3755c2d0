"""Fixtures for the tests of fetching."""

from pathlib import Path

import pytest

from avstore.manifests.store import Store
from tests.pipelines.fetch.recorded_store import make_recorded_store


@pytest.fixture
def recorded_store(tmp_path: Path) -> Store:
    """Return a store of 20 clips, see `make_recorded_store`."""
    return make_recorded_store(tmp_path / "store")
