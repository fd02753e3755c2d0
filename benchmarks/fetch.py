"""Measure the speed of fetching from a local server against a bare download loop.

Usage: python -m benchmarks.fetch [--clips N] [--out FILE]

Prints and writes the clips per second without and with failures, the overhead per clip over a loop
that only downloads the same bytes (urllib, one thread, fsync and rename), the largest rate that
the server saw against the limit, and the number of kills that a run survived.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

from avstore.pipelines.fetch.source import FetchOptions
from tests.faults.test_fetch_storm import attempt_times, check_storm, largest_excess, run_storm
from tests.pipelines.fetch.clips import QUICK, make_request, make_source, tiny_video
from tests.servers.media_server import MediaServer


def bare_loop(base: str, folder: Path, clips: int) -> float:
    """Return the clips per second of a loop that gets, writes, syncs and renames."""
    folder.mkdir(parents=True)
    began = time.perf_counter()
    for number in range(clips):
        with urllib.request.urlopen(f"{base}/ok/a.mp4?{number}") as answer:
            data = answer.read()
        temp = folder / f".{number}.tmp"
        with temp.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(folder / f"{number}.mp4")
    return clips / (time.perf_counter() - began)


def fetch_urls(
    base: str, store: Path, commands: list[str], clips: int, options: FetchOptions
) -> float:
    """Return the clips per second of the source `urls`, retries included."""
    requests = [
        make_request(f"k{n}", url=f"{base}/{commands[n % len(commands)]}/a.mp4?{n}")
        for n in range(clips)
    ]
    began = time.perf_counter()
    for _ in make_source("urls", store, options).fetch(requests):
        pass
    return clips / (time.perf_counter() - began)


def largest_rate(times: list[float], window_s: float) -> float:
    """Return the largest number of attempts per second that began in any window."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most / window_s


def measure(clips: int, folder: Path) -> dict[str, object]:
    """Return all numbers; speeds are medians of three alternating turns."""
    served = folder / "served"
    served.mkdir()
    (served / "a.mp4").write_bytes(tiny_video())
    failing = ["ok"] * 14 + ["404", "403", "1x500", "1xreset", "1x503-0", "liar"]
    speeds: dict[str, list[float]] = {"bare": [], "off": [], "on": []}
    for turn in range(3):
        with MediaServer(served) as server:
            out = folder / str(turn)
            speeds["bare"].append(bare_loop(server.url, out / "bare", clips))
            speeds["off"].append(fetch_urls(server.url, out / "off", ["ok"], clips, QUICK))
            speeds["on"].append(fetch_urls(server.url, out / "on", failing, clips, QUICK))
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    limit = 20 * 3600.0
    paced_folder = folder / "paced"
    paced_folder.mkdir()
    paced = run_storm(paced_folder, clips=clips // 2, rate_per_hour=limit, kills=0)
    check_storm(paced)
    killed_folder = folder / "killed"
    killed_folder.mkdir()
    killed = run_storm(killed_folder, clips=clips // 2, rate_per_hour=limit, kills=3)
    check_storm(killed)
    return {
        "clips": clips,
        "bytes_per_clip": len(tiny_video()),
        "workers": QUICK.workers,
        "clips_per_s_bare_loop": round(middle["bare"], 1),
        "clips_per_s_failures_off": round(middle["off"], 1),
        "clips_per_s_failures_on": round(middle["on"], 1),
        "overhead_ms_per_clip": round(1000 / middle["off"] - 1000 / middle["bare"], 2),
        "spread": {name: [round(v, 1) for v in sorted(values)] for name, values in speeds.items()},
        "limit_per_s": limit / 3600.0,
        "largest_rate_per_s_over_5_s": largest_rate(attempt_times(paced), 5.0),
        "attempts_above_the_limit_in_any_window": round(largest_excess(paced, limit) - 1, 2),
        "attempts_above_with_kills": round(largest_excess(killed, limit) - 1, 2),
        "restarts_survived": killed.kills,
    }


def main() -> None:
    """Measure, print and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/fetch.json"))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="avstore-bench-"))
    try:
        result = measure(arguments.clips, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result["host"] = {"cpus": os.cpu_count(), "system": platform.platform()}
    result["load_before"] = os.getloadavg()[0]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
