"""The pages in a real Chromium: they fit, play, obey the keyboard, and run nothing from data."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from avstore.manifests.library import open_store
from avstore.manifests.store import Store
from avstore.pipelines.browse.access import Access
from avstore.pipelines.browse.app import create_app
from avstore.pipelines.browse.server import listen
from avstore.pipelines.browse.session import Session
from avstore.pipelines.report.page import write_report
from tests.pipelines.browse.chromium import browser, messages, needs_chromium, resize, violations
from tests.pipelines.browse.conftest import HOSTILE, change
from tests.pipelines.browse.test_pages import PAGES, STAGE
from tests.train.data.store_factory import clip_id

pytestmark = needs_chromium
CLIP = clip_id(2)
SHOTS = os.environ.get("AVSTORE_SCREENSHOTS")
"""Folder that the pictures of docs/browse.md are written to."""


class Served:
    """The pages of a store, served by a thread of this process."""

    def __init__(self, root: Path) -> None:
        self._listener = listen(0)
        self._session = Session(open_store(root))
        self.access = Access(self._listener.getsockname()[1])
        app = create_app(self._session, self.access, None)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        sockets = {"sockets": [self._listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)
        self._thread.start()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.access.port}{path}"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._session.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def serve(chromium: webdriver.Chrome) -> Iterator[Callable[[Path], Served]]:
    """Serve a store and open its address, as the user does."""
    found: dict[Path, Served] = {}

    def start(root: Path) -> Served:
        if root not in found:
            found[root] = Served(root)
            chromium.get(found[root].access.address)
            wait_for(chromium, "return document.querySelector('h1')?.textContent === 'Overview'")
            messages(chromium)
        return found[root]

    yield start
    for each in found.values():
        each.close()


def wait_for(driver: webdriver.Chrome, script: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not driver.execute_script(script):
        assert time.monotonic() < end, f"never: {script}\n{messages(driver)}"
        time.sleep(0.05)


def settle(driver: webdriver.Chrome) -> None:
    """Wait until open facets are loaded and the player is ready."""
    wait_for(
        driver,
        "return document.readyState === 'complete' && "
        "[...document.querySelectorAll('.facet[open] .body')].every(b => "
        "b.querySelector('ul, svg, p')) && "
        "[...document.querySelectorAll('.player')].every(p => p.dataset.ready)",
    )


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_and_is_accessible(chromium, serve, toy_folder, width, dark) -> None:
    served = serve(toy_folder)
    resize(chromium, width, dark=dark)
    problems = {}
    for path in PAGES:
        chromium.get(served.address(path))
        settle(chromium)
        wide = chromium.execute_script("return document.documentElement.scrollWidth")
        found = [*messages(chromium), *violations(chromium), *([f"{wide} px"] * (wide > width))]
        if found:
            problems[path] = found
    assert problems == {}


def test_a_clip_of_the_gallery_plays_while_it_is_pointed_at(chromium, serve, toy_folder) -> None:
    served = serve(toy_folder)
    resize(chromium, 1280)
    chromium.get(served.address("/clips"))
    settle(chromium)
    figure = chromium.find_element(By.CSS_SELECTOR, "figure.playable")
    ActionChains(chromium).move_to_element(figure).perform()
    wait_for(chromium, "return document.querySelector('figure canvas')?.width > 16")
    drawn = "return document.querySelector('figure canvas').shown.time"
    first = chromium.execute_script(drawn)
    wait_for(chromium, f"return document.querySelector('figure canvas').shown.time !== {first}")
    ActionChains(chromium).move_to_element(chromium.find_element(By.TAG_NAME, "h1")).perform()
    wait_for(chromium, "return !document.querySelector('figure canvas')")
    assert messages(chromium) == []


def test_frames_sound_and_cursor_of_a_clip_move_together(chromium, serve, toy_folder) -> None:
    served = serve(toy_folder)
    resize(chromium, 1280)
    chromium.get(served.address(f"/clip/{CLIP}"))
    settle(chromium)
    left = "return parseFloat(document.querySelector('.cursor').style.left)"
    assert chromium.execute_script(left) == 0
    chromium.execute_script("const a = document.querySelector('audio'); a.loop = true; a.play()")
    wait_for(chromium, "return document.querySelector('audio').currentTime > 0.1")
    wait_for(chromium, left + " > 10")
    assert chromium.execute_script("return document.querySelector('audio').duration") == 0.5
    chromium.find_element(By.CSS_SELECTOR, ".spectrum").click()
    assert messages(chromium) == []


def test_facets_can_be_used_by_the_keyboard(chromium, serve, toy_folder) -> None:
    served = serve(toy_folder)
    resize(chromium, 1280)
    chromium.get(served.address("/clips"))
    settle(chromium)
    chromium.switch_to.active_element.send_keys(Keys.TAB)
    skip = chromium.switch_to.active_element
    assert skip.text == "Skip to content"
    assert skip.is_displayed()
    link = chromium.find_element(By.CSS_SELECTOR, "[data-src^='/facet/split'] .values a")
    link.send_keys(Keys.ENTER)
    wait_for(chromium, "return location.search.startsWith('?split=')")
    settle(chromium)
    chip = chromium.find_element(By.CSS_SELECTOR, ".chip")
    assert chip.text.startswith("split: train")
    chip.send_keys(Keys.ENTER)
    wait_for(chromium, "return location.search === ''")
    chromium.back()
    wait_for(chromium, "return location.search.startsWith('?split=')")


def test_dragging_over_a_histogram_selects_a_range(chromium, serve, own_folder) -> None:
    change(own_folder, "UPDATE samples SET duration_s = 1 + position")
    served = serve(own_folder)
    resize(chromium, 1280)
    chromium.get(served.address("/clips?min_duration_s=0"))
    settle(chromium)
    plot = chromium.find_element(By.CSS_SELECTOR, ".histogram")
    move = ActionChains(chromium).move_to_element_with_offset(plot, -60, 0)
    move.click_and_hold().move_by_offset(90, 0).release().perform()
    wait_for(chromium, "return location.search.includes('max_duration_s=')")


def test_tables_sort_and_filter(chromium, serve, toy_folder) -> None:
    served = serve(toy_folder)
    resize(chromium, 1280)
    chromium.get(served.address("/classes"))
    settle(chromium)
    chromium.find_element(By.CSS_SELECTOR, "th button").send_keys(Keys.ENTER)
    names = [cell.text for cell in chromium.find_elements(By.CSS_SELECTOR, "td:first-child")]
    assert names == sorted(names)
    chromium.find_element(By.CSS_SELECTOR, "[data-filter]").send_keys("class 3")
    shown = chromium.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    assert [row.text.split("\n")[0][:7] for row in shown] == ["class 3"]


@pytest.mark.parametrize(
    "path", ["/", "/clips", "/classes", *(f"/clip/{clip_id(n)}" for n in (0, 1))]
)
def test_texts_of_the_data_run_nothing(chromium, serve, hostile_folder, path: str) -> None:
    served = serve(hostile_folder)
    resize(chromium, 1280)
    chromium.get(served.address(path))
    settle(chromium)
    assert chromium.execute_script("return window.broken") is None
    assert messages(chromium) == []
    if path == "/classes":
        text = chromium.find_element(By.TAG_NAME, "main").text
        assert HOSTILE[0] in text
        assert HOSTILE[1] in text


def test_a_damaged_shard_shows_as_such(chromium, serve, own_folder) -> None:
    for shard in own_folder.glob("shards/toy/*/*.tar"):
        shard.write_bytes(b"\0" * shard.stat().st_size)
    served = serve(own_folder)
    resize(chromium, 1280)
    chromium.get(served.address("/clips"))
    wait_for(chromium, "return document.querySelector('.picture .none')?.textContent === "
             "'damaged or unreadable'")  # fmt: skip
    chromium.get(served.address(f"/clip/{CLIP}"))
    assert "Damaged: shards/" in chromium.find_element(By.CSS_SELECTOR, "[role=alert]").text
    messages(chromium)  # refused pictures


@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_a_page_of_its_own(chromium, toy_folder, tmp_path, width: int) -> None:
    import shutil

    store = Store(Path(shutil.copytree(toy_folder, tmp_path / "store")))
    path = write_report(store, "toy", STAGE)
    messages(chromium)
    resize(chromium, width)
    chromium.get(path.as_uri())
    wait_for(chromium, "return document.querySelectorAll('th button').length >= 5")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert [*messages(chromium), *violations(chromium)] == []
    sound = "const a = document.querySelector('audio'); a.play(); return a.duration > 0.4"
    wait_for(chromium, sound)


@pytest.mark.skipif(not SHOTS, reason="AVSTORE_SCREENSHOTS names no folder for the pictures")
def test_pictures_of_the_pages_for_the_docs(chromium, serve, tmp_path, monkeypatch) -> None:
    folder = Path(SHOTS or "").resolve()
    monkeypatch.chdir(tmp_path)
    build = [sys.executable, "-m", "avstore", "build", "vggsound", "--store", "data"]
    subprocess.run(build, check=True, capture_output=True)
    served = serve(Path("data"))
    resize(chromium, 1000)
    clip = "/clip/vggsound/1fulj3aJbpr_000192"
    for name, path in (("overview", "/"), ("clips", "/clips"), ("clip", clip)):
        chromium.get(served.address(path))
        settle(chromium)
        time.sleep(1)
        picture = folder / f"browse-{name}.png"
        chromium.save_screenshot(str(picture))
        shrink(picture)


def shrink(picture: Path) -> None:
    """Keep 64 colours of a picture."""
    from PIL import Image

    with Image.open(picture) as whole:
        whole.convert("RGB").quantize(64).save(picture, optimize=True)
