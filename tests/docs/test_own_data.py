"""The example of docs/own-data.md, run as it is printed."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks
from tests.docs.run_page import run, run_page
from tests.media import make_clip

PAGE = (DOCS / "own-data.md").read_text()


@pytest.mark.slow
def test_the_page_does_what_it_says(clone: Path) -> None:
    make_clip(clone / "videos" / "garden.mp4", 6, seed=1)
    make_clip(clone / "videos" / "forest walk.mp4", 12, seed=2, tone_hz=500)
    (clone / "birds.csv").write_text(blocks(PAGE, "csv")[0])
    assert run_page(PAGE, clone) == 5
    (clone / "birds.csv").unlink()
    again = run("avstore build birds --store data", clone)
    assert "3 wanted = 3 stored" in again
