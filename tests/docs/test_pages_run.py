"""Quickstart and the pages of "Start here": each is run from top to bottom, as it is printed."""

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks
from tests.docs.run_page import run_page
from tests.media import make_clip
from tests.servers.media_server import MediaServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = {"train/run.py --shards data/shards": "train/run.py --shards data/shards --set epochs=1"}
"""Trains for one epoch instead of a hundred; the pages' numbers are of the whole run."""
LABELS = ("playing banjo", "dog barking")


SMALL = "avstore build vggsound --source /path/to/videos --annotations /path/to/vggsound.csv\n"
"""Builds five clips instead of the sample's 82."""


def text(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, str]:
    """Six videos and a list of eight clips, in place of /path/to and /big/disk."""
    folder = tmp_path / "path-to"
    rows = []
    for index in range(8):
        name = f"clip{index:07d}"
        rows.append(f"{name},{10 * index},{LABELS[index % 2]},{'test' if index > 4 else 'train'}")
        if index < 6:
            path = folder / "videos" / f"{name}_{10 * index}.mp4"
            make_clip(path, 2 if index == 5 else 10, seed=index, tone_hz=200 + 90 * index)
    make_clip(folder / "videos" / "holiday.mp4", 2)
    (folder / "vggsound.csv").write_text("\n".join(rows) + "\n")
    return {"/path/to": str(folder), "/big/disk": str(tmp_path / "disk")}


def test_quickstart(sample_clone: Path, videos: dict[str, str]) -> None:
    assert run_page(text("quickstart"), sample_clone, SHORT | videos) == 12


def test_i_have_the_videos(clone: Path, videos: dict[str, str]) -> None:
    assert run_page(text("start-videos"), clone, videos) == 7


def test_i_have_nothing_but_the_list(clone: Path, videos: dict[str, str]) -> None:
    page = text("start-list")
    shutil.copy(f"{videos['/path/to']}/vggsound.csv", clone)
    media = clone / "media"
    make_clip(media / "garden.mp4", 6, seed=1)
    make_clip(media / "forest.mp4", 8, seed=2, tone_hz=500)
    with MediaServer(media) as server:
        addresses = {"https://example.org/videos": f"{server.url}/ok"}
        (rows,) = blocks(page, "csv")
        (clone / "birds.csv").write_text(rows.replace(*addresses.popitem()))
        local = {"birds.csv --store": "birds.csv --fetch-option allow_private=true --store"}
        assert run_page(page, clone, local) == 5


def test_i_only_want_the_features(clone: Path, videos: dict[str, str]) -> None:
    stand_ins = {"make vggsound-shards\n": SMALL} | videos
    assert run_page(text("start-features"), clone, stand_ins) == 10


def test_i_have_my_own_method(sample_clone: Path) -> None:
    assert run_page(text("start-method"), sample_clone, SHORT) == 7
