"""Fixtures and settings of every test."""

import atexit
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from avstore.manifests import terminal

REPO = Path(__file__).resolve().parents[1]

# `make test ARGS=…` hands its variables on; the calls of make within tests shall not have them.
for _name in [name for name in os.environ if name.startswith("MAKE") or name == "ARGS"]:
    del os.environ[_name]

# A busy machine takes many times as long for an example; pytest-timeout bounds a test that hangs.
settings.register_profile("avstore", deadline=None)
settings.load_profile("avstore")


# Builds of module fixtures; a test has a folder of its own.
os.environ["AVSTORE_RATE_STATE"] = tempfile.mkdtemp(prefix="avstore-rate-")
atexit.register(shutil.rmtree, os.environ["AVSTORE_RATE_STATE"], ignore_errors=True)


@pytest.fixture(autouse=True)
def rate_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the rate limit's state out of the user's folder, and of that of other tests."""
    folder = tmp_path_factory.getbasetemp() / f"rate-{uuid.uuid4().hex}"
    monkeypatch.setenv("AVSTORE_RATE_STATE", str(folder))
    return folder


@atexit.register
def _discard_native_messages() -> None:
    """Discard what extension modules print after the last line of Python.

    DuckDB's binding counts every type that pytest still refers to as leaked, a hundred lines after
    the summary. This handler is registered first and so runs last: nothing of Python's is lost.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real clips and annotation files beside the project, or skip."""
    data = Path(os.environ.get("AVSTORE_SHARED", REPO.parent / "shared")) / "data"
    if not data.is_dir():
        pytest.skip(f"real clips and annotation files are not at {data} (set AVSTORE_SHARED)")
    return data


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin files with slow tests first, so that the processes of a run end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _shown_progress() -> Iterator[None]:
    """Forget -q and --json of commands that a test runs in this process."""
    yield
    terminal.reset()
