"""Fixtures for the tests of fetching."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from avstore.manifests.store import Store
from tests.pipelines.fetch.clips import tiny_video
from tests.pipelines.fetch.recorded_store import make_recorded_store
from tests.servers.media_server import MediaServer


@pytest.fixture
def recorded_store(tmp_path: Path) -> Store:
    """Return a store of 20 clips, see `make_recorded_store`."""
    return make_recorded_store(tmp_path / "store")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MediaServer]:
    """Return a running HTTP server that serves a small video as a.mp4."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(tiny_video())
    with MediaServer(folder) as running:
        yield running
