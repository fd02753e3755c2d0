"""Fixtures for every test."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and annotation files beside the project; skips where absent."""
    data = Path(os.environ.get("AVSTORE_SHARED", REPO.parent / "shared")) / "data"
    if not data.is_dir():
        pytest.skip(f"real clips and annotation files are not at {data} (set AVSTORE_SHARED)")
    return data


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that the processes of a run end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
