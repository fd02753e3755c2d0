"""What a build makes before it begins is seen by `status`, and no other build disturbs it."""

from pathlib import Path

import pytest

from avstore.manifests.store import Store
from avstore.pipelines.build.meter import no_progress
from avstore.pipelines.build.preparing import preparing
from avstore.pipelines.build.progress import read_progress
from tests.pipelines.cli.test_build import avstore


def test_status_shows_what_is_made_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    with preparing(store.root, "vggsound", 0, no_progress) as shown:
        with shown("sample", 100, "percent") as advance:
            advance(32)
        said = avstore("status", "--store", store.root).stdout
        other = avstore("build", "vggsound", "--store", store.root, check=False)
    assert "being written by process" in said
    assert "sample" in said
    assert (other.returncode, other.stderr.count("\n")) == (3, 1)
    assert not (store.root / "sample").exists()


def test_being_stopped_before_the_build_is_an_interruption(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    with (
        pytest.raises(KeyboardInterrupt),
        preparing(store.root, "vggsound", 0, no_progress),
    ):
        raise KeyboardInterrupt
    state = read_progress(store)
    assert state is not None
    assert state[0] == "interrupted"
    assert avstore("status", "--store", store.root).returncode == 0
