"""Measure `avstore browse` over a manifest of millions of clips, each number beside its target.

    python -m benchmarks.browse --clips 2100000 --store /tmp/stores

The manifest is made up (benchmarks/synthetic_store.py); a second store of real members, of
`--gallery`, gives the time of a gallery page with its 50 pictures.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

from avstore.manifests.store import Store
from benchmarks.common import table, write
from benchmarks.loader_remote import serving_s3, upload
from benchmarks.manifest import _alone, _generate, _rebuild

# Targets for 2.1 million clips on two cores.
CEILINGS = {"first page": 1.0, "facet": 0.3, "gallery": 0.5, "memory": 600.0}
REMOTE_LATENCY_S = 0.05
_LABEL = quote("class 4")
FACETS = {
    "label": "/facet/label",
    "label, of a reason": "/facet/label?verdict=no_audio",
    "label, of a loudness": "/facet/label?min_loudness_lufs=-10",
    "reason": "/facet/verdict",
    "status, of a label": f"/facet/status?label={_LABEL}",
    "silence, of a label": f"/facet/silent_fraction?label={_LABEL}",
    "loudness": "/facet/loudness_lufs",
    "reason, of a text": "/facet/verdict?q=class+40",
}
PAGES = {
    "clips": "/clips",
    "clips of a label": f"/clips?label={_LABEL}",
    "clips, loudest first": "/clips?sort=-loudness_lufs",
    "clips, page 300": "/clips?page=300",
    "classes": "/classes",
}


class Pages:
    """The pages of a server."""

    def __init__(self, address: str, pid: int) -> None:
        host, token = re.findall(r"http://([^/]+)/\?token=(\S+)", address)[0]
        self._host, self.pid = host, pid
        self._headers = {"Cookie": f"avstore-{host.split(':')[1]}={token}", "X-Fragment": "1"}

    def get(self, path: str) -> tuple[float, bytes]:
        """Return the seconds of a request, and what it gave."""
        began = time.perf_counter()
        connection = HTTPConnection(self._host)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content[-400:].decode()}")
        return time.perf_counter() - began, content

    def median(self, path: str, times: int = 7) -> float:
        return statistics.median(self.get(path)[0] for _ in range(times))

    def peak_mb(self) -> float:
        facts = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", facts)[0]) / 1e3


@contextmanager
def served(store: Path | str, **variables: str) -> Iterator[Pages]:
    """Run `avstore browse` over a store, with environment variables."""
    command = [sys.executable, "-m", "avstore", "browse", "--no-open", "--store", str(store)]
    env = {**os.environ, **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            yield Pages(process.stdout.readline(), process.pid)
        finally:
            process.send_signal(signal.SIGINT)


def measure(store: Path) -> list[tuple[str, float, float]]:
    with served(store) as pages:
        first = pages.get("/")[0]
        began = time.perf_counter()
        pages.get("/clips")
        prepared = time.perf_counter() - began
        rows = [("first page, s", first, CEILINGS["first page"])]
        rows += [("facets ready after it, s", prepared, float("nan"))]
        rows += [
            (f"facet: {name}, s", pages.median(path), CEILINGS["facet"])
            for name, path in FACETS.items()
        ]
        rows += [(f"page: {name}, s", pages.median(path), 1.0) for name, path in PAGES.items()]
        return [*rows, ("peak memory, MB", pages.peak_mb(), CEILINGS["memory"])]


def gallery(store: Path) -> tuple[str, float, float]:
    """Return the time of a page of 50 clips with its pictures, as a browser asks for them."""
    with served(store) as pages:
        pages.get("/clips")
        seconds = statistics.median(gallery_page(pages) for _ in range(7))
        return "gallery of 50 clips with pictures, s", seconds, CEILINGS["gallery"]


def gallery_page(pages: Pages, path: str = "/clips") -> float:
    """Return the seconds until a page and its pictures are there."""
    began = time.perf_counter()
    _, content = pages.get(path)
    paths = re.findall(r'src="(/poster/[^"]+)"', content.decode())
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda own: pages.get(own.replace("&amp;", "&")), paths))
    return time.perf_counter() - began


def remote(store: Path) -> list[tuple[str, float, float]]:
    """Return the times of a store on S3 whose every answer takes 50 ms longer."""
    with serving_s3() as (address, latency), tempfile.TemporaryDirectory() as cache:
        url = upload(store, address)
        latency.value = REMOTE_LATENCY_S
        own = {"AWS_ENDPOINT_URL": address, "XDG_CACHE_HOME": cache}
        with served(url, **own) as pages:
            first = pages.get("/")[0]
            cold, warm = gallery_page(pages), gallery_page(pages)
            _, content = pages.get("/clips")
            clip = re.findall(r'href="(/clip/[^"]+)"', content.decode())[-1].replace("&amp;", "&")
            opened = pages.get(clip)[0]
        nan = float("nan")
        return [
            ("S3, 50 ms: first page, s", first, nan),
            ("S3, 50 ms: gallery of 50 clips with pictures, first time, s", cold, nan),
            ("S3, 50 ms: the same again, s", warm, CEILINGS["gallery"]),
            ("S3, 50 ms: page of a clip, s", opened, nan),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2_100_000)
    parser.add_argument("--store", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--gallery", type=Path, help="a store with shards")
    arguments = parser.parse_args()
    root = arguments.store / f"m{arguments.clips}"
    if not (root / "manifest.duckdb").is_file():
        _alone(_generate, root, arguments.clips)
        _alone(_rebuild, Store(root))
    rows = measure(root)
    if arguments.gallery:
        rows += [gallery(arguments.gallery), *remote(arguments.gallery)]
    table(f"avstore browse, {arguments.clips:,} clips", ("", "measured", "ceiling"), rows)
    load = os.getloadavg()[0]
    write("browse", {"clips": arguments.clips, "load": load, "rows": rows})


if __name__ == "__main__":
    main()
