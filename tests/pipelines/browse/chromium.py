"""The system's Chromium, driven by its own driver; tests that need it are skipped without it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
DRIVER = shutil.which("chromedriver") or ""
needs_chromium = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no Chromium with its driver (Debian: apt-get install chromium chromium-driver)",
)
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


@contextmanager
def browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Yield a browser with an empty profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(30)
    driver.set_script_timeout(30)
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: webdriver.Chrome, width: int, *, dark: bool = False) -> None:
    """Set the width of the page, and the colours that the user prefers."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def messages(driver: webdriver.Chrome) -> list[str]:
    """Return what the browser's console has shown since the last call."""
    log: Any = driver.get_log("browser")
    return [f"{line['level']}: {line['message']}" for line in log]


def violations(driver: webdriver.Chrome) -> list[str]:
    """Return the rules of axe that the page breaks, with the first element each."""
    found = Axe().run(driver)
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found["violations"]]
