"""Fetch URLs with yt-dlp's generic extractor from a local server that misbehaves."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import imageio_ffmpeg
import psutil
import pytest

from avstore.manifests.ledger import now
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch import web
from avstore.pipelines.fetch.guards import FetchStopped
from avstore.pipelines.fetch.source import (
    FetchOptions,
    FetchResult,
    MachineError,
    MediaRequest,
    SourceError,
)
from tests.pipelines.fetch.clips import QUICK, fetch_urls, make_request, make_source, tiny_video

V = Verdict


def fetch_until_stopped(
    store: Path, requests: list[MediaRequest], options: FetchOptions
) -> tuple[list[FetchResult], str]:
    """Return the results of a run that stops early and the message of its FetchStopped."""
    results: list[FetchResult] = []
    with pytest.raises(FetchStopped) as stop:
        results.extend(make_source("urls", store, options).fetch(requests))
    return results, str(stop.value)


def test_the_servers_bytes_are_committed_under_the_clips_key(server, tmp_path: Path) -> None:
    (row,) = fetch_urls(tmp_path, [make_request("-a_b", url=f"{server.url}/ok/a.mp4")])
    assert row.path == str(tmp_path / "raw" / "toy" / "-a_b.mp4")
    assert Path(row.path).read_bytes() == tiny_video()
    assert row.sha256 == hashlib.sha256(tiny_video()).hexdigest()
    assert (row.status, row.bytes, row.offset_s) == ("stored", len(tiny_video()), 0.0)
    assert row.tool_version.startswith("urls by yt-dlp 20")
    assert not list((tmp_path / "raw" / "toy" / ".incoming").iterdir())


@pytest.mark.parametrize(
    ("behaviour", "verdict", "attempts"),
    [
        ("404", V.NOT_FOUND, 1),
        ("403", V.PRIVATE, 1),
        ("410", V.REMOVED, 1),
        ("451", V.COPYRIGHT, 1),
        ("500", V.HTTP_5XX, 5),
        ("503-0", V.HTTP_5XX, 5),
        ("reset", V.CONNECTION, 5),
        ("short", V.CONNECTION, 5),
        ("loop", V.CONNECTION, 5),
        ("html", V.UNKNOWN, 3),
        ("liar", V.UNKNOWN, 3),
    ],
)
def test_each_failure_has_its_verdict_and_number_of_attempts(
    server, tmp_path: Path, behaviour: str, verdict: Verdict, attempts: int
) -> None:
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/{behaviour}/a.mp4")])
    assert [row.verdict for row in rows] == [verdict] * attempts, rows[0].message
    assert all(row.charged for row in rows)
    assert not list((tmp_path / "raw" / "toy").glob("*.mp4"))
    if behaviour == "liar":
        assert "<title>Please wait</title>" in rows[0].message


@pytest.mark.parametrize("behaviour", ["silent", "hang"])
def test_a_server_that_hangs_is_a_timeout(server, tmp_path: Path, behaviour: str) -> None:
    options = replace(QUICK, ytdlp={"socket_timeout": 0.3})
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/{behaviour}/a.mp4")], options)
    assert [row.verdict for row in rows] == [V.TIMEOUT] * 5


def test_a_download_that_does_not_end_is_killed(server, tmp_path: Path) -> None:
    options = replace(QUICK, timeout_s=1.5)
    began = time.monotonic()
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/drip/a.mp4")], options)
    assert [row.verdict for row in rows] == [V.TIMEOUT] * 5
    assert "killed" in rows[0].message
    assert time.monotonic() - began < 240, "the whole download would take ten minutes"


@pytest.mark.parametrize("path", ["endless/a.mp4", "ok/a.m3u8"])
def test_an_endless_body_is_stopped_at_max_bytes(server, tmp_path: Path, path: str) -> None:
    to_ts = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", server.folder / "a.mp4"]
    subprocess.run([*to_ts, "-c", "copy", server.folder / "a.ts"], check=True)
    (server.folder / "a.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/endless/a.ts\n#EXT-X-ENDLIST\n"
    )
    request = make_request("a", url=f"{server.url}/{path}")
    options, largest = replace(QUICK, max_bytes=20 << 20), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.005):
            with contextlib.suppress(OSError):
                size = sum(f.stat().st_size for f in (tmp_path / "raw").rglob("*") if f.is_file())
                largest = max(largest, size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    rows = fetch_urls(tmp_path, [request], options)
    done.set()
    watcher.join()
    assert [row.verdict for row in rows] == [V.UNDECODABLE], rows[0].message
    assert largest <= 2 * options.max_bytes + (2 << 20)


def test_a_file_larger_than_max_bytes_is_refused_without_reading_it(server, tmp_path) -> None:
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/ok/a.mp4")],
                 replace(QUICK, max_bytes=1000))  # fmt: skip
    assert [row.verdict for row in rows] == [V.UNDECODABLE]
    assert "max_bytes" in rows[0].message


@pytest.mark.parametrize("behaviour", ["2x500", "1xreset", "3x503-0", "4xreset", "norange"])
def test_a_clip_is_fetched_after_transient_failures(server, tmp_path: Path, behaviour: str) -> None:
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/{behaviour}/a.mp4")])
    assert rows[-1].status == "stored"
    assert Path(rows[-1].path).read_bytes() == tiny_video()


def test_a_rate_limit_is_not_charged_and_obeys_retry_after(server, tmp_path: Path) -> None:
    began = time.monotonic()
    rows = fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/2x429-1/a.mp4")])
    assert [row.verdict for row in rows] == [V.RATE_LIMITED] * 2 + [None]
    assert [row.charged for row in rows] == [False, False, True]
    assert time.monotonic() - began > 3.0, "1 s, and 2 s after the second"
    assert rows[0].not_before is not None


def test_a_url_that_always_rate_limits_does_not_block_the_others(server, tmp_path: Path) -> None:
    bad = make_request("bad", url=f"{server.url}/429-0/a.mp4")
    good = [make_request(f"good{n}", url=f"{server.url}/ok/a.mp4?{n}") for n in range(20)]
    rows = fetch_urls(tmp_path, [bad, *good])
    assert Counter(row.status for row in rows)["stored"] == 20
    assert sum(row.clip_id == "toy/bad" for row in rows) <= 5


def test_youtubes_default_rate_is_below_the_limit_for_guests(tmp_path: Path) -> None:
    assert 0 < web.YOUTUBE.rate_per_hour < 300


def test_clips_without_a_usable_url_are_absent(server, tmp_path: Path) -> None:
    rows = fetch_urls(tmp_path, [make_request("a"), make_request("b", url="file:///etc/passwd")])
    assert [(row.status, row.verdict) for row in rows] == [("absent", V.NOT_IN_SOURCE)] * 2
    assert "publishes no URL" in rows[0].message


def test_preflight_reports_that_no_host_can_be_reached(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"none of the hosts can be reached .*127\.0\.0\.1"):
        fetch_urls(tmp_path, [make_request("a", url="http://127.0.0.1:9/a.mp4")])


def test_preflight_reports_a_missing_cookies_file(server, tmp_path: Path) -> None:
    options = replace(QUICK, cookies_file=str(tmp_path / "cookies.txt"))
    with pytest.raises(SourceError, match="cookies file"):
        fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/ok/a.mp4")], options)
    assert not server.log.requests


def test_too_little_free_space_is_reported_before_the_first_request(server, tmp_path: Path) -> None:
    options = replace(QUICK, min_free_bytes=1 << 60)
    with pytest.raises(MachineError, match="less than min_free_bytes"):
        fetch_urls(tmp_path, [make_request("a", url=f"{server.url}/ok/a.mp4")], options)
    assert not server.log.requests


def test_a_disk_that_fills_up_stops_the_run(server, tmp_path: Path, monkeypatch) -> None:
    disk_usage = shutil.disk_usage
    calls = itertools.count()

    def filling(path: str) -> object:
        usage = disk_usage(path)
        return usage._replace(free=usage.free if next(calls) < 2 else 10)

    monkeypatch.setattr("shutil.disk_usage", filling)
    monkeypatch.setattr("avstore.pipelines.fetch.guards._DISK_EVERY_S", 0.0)
    requests = [make_request(f"k{n}", url=f"{server.url}/ok/a.mp4?{n}") for n in range(20)]
    rows, stop = fetch_until_stopped(tmp_path, requests, QUICK)
    assert "run the same command again" in stop
    assert len(rows) == len(list((tmp_path / "raw" / "toy").glob("*.mp4")))
    assert len(list((tmp_path / "raw" / "toy").glob("*.mp4"))) < 20


def test_a_sudden_wave_of_one_failure_stops_the_run(server, tmp_path: Path) -> None:
    options = replace(QUICK, abort_share=0.9, abort_window=20)
    good = [make_request(f"good{n}", url=f"{server.url}/ok/a.mp4?{n}") for n in range(30)]
    bad = [make_request(f"bad{n}", url=f"{server.url}/404/a.mp4?{n}") for n in range(300)]
    rows, stop = fetch_until_stopped(tmp_path, [*good, *bad], options)
    assert "not_found" in stop
    assert "avstore retry" in stop
    assert Counter(row.status for row in rows)["stored"] == 30
    assert 18 <= Counter(row.status for row in rows)["gone"] <= 30


def test_a_steady_share_of_failures_does_not_stop_the_run(server, tmp_path: Path) -> None:
    options = replace(QUICK, abort_share=0.9, abort_window=20)
    requests = [
        make_request(f"k{n}", url=f"{server.url}/{'ok' if n % 3 == 0 else '404'}/a.mp4?{n}")
        for n in range(120)
    ]
    rows = fetch_urls(tmp_path, requests, options)
    assert Counter(row.status for row in rows) == {"stored": 40, "gone": 80}


def test_a_pause_longer_than_max_pause_s_stops_the_run(
    server, tmp_path: Path, rate_state: Path
) -> None:
    options = replace(QUICK, max_pause_s=1.0)
    requests = [make_request(f"k{n}", url=f"{server.url}/429/a.mp4?{n}") for n in range(40)]
    rows, stop = fetch_until_stopped(tmp_path, requests, options)
    assert "rate_limited" in stop
    assert "cookies" in stop
    assert not any(row.charged for row in rows)
    state = json.loads((rate_state / "fetch-127.0.0.1.json").read_text())
    assert state["failures"] > 0


def test_an_absurd_retry_after_is_capped_and_the_next_run_tries(server, tmp_path: Path) -> None:
    options = replace(QUICK, max_pause_s=1.0)
    limited = make_request("a", url=f"{server.url}/1x429-999999999/a.mp4")
    rows, stop = fetch_until_stopped(tmp_path, [limited], options)
    assert "asks to wait 1.16e+04 days, more than max_pause_s (1 s)" in stop
    assert rows[0].not_before < now() + timedelta(seconds=60)
    rows = fetch_urls(tmp_path, [limited], options)
    assert rows[-1].status == "stored"


@pytest.mark.parametrize("wish", ["999999999", "1e300", "inf", "nan", "soon"])
def test_a_server_that_is_down_cannot_put_a_clip_off_for_decades(
    server, tmp_path: Path, wish: str
) -> None:
    options = replace(QUICK, max_pause_s=1.0)
    rows = fetch_urls(
        tmp_path, [make_request("b", url=f"{server.url}/1x503-{wish}/a.mp4")], options
    )
    assert rows[0].not_before < now() + timedelta(seconds=60)
    assert rows[-1].status == "stored"


def test_a_proxys_password_is_not_in_the_message(server, tmp_path: Path) -> None:
    options = replace(QUICK, proxy="http://me:pa55w0rd@127.0.0.1:9")
    rows = fetch_urls(
        tmp_path, [make_request("b", url="http://me:pa55w0rd@localhost/a.mp4")], options
    )
    assert "pa55w0rd" not in repr(rows)


# A shell's background job, and what it starts, ignores SIGINT unless it asks not to.
RUN = """
import signal
import sys
from pathlib import Path
from dataclasses import replace
from avstore.pipelines.fetch.attempt_log import AttemptLog, to_row
from tests.pipelines.fetch.clips import QUICK, fetch_urls, make_request, make_source
signal.signal(signal.SIGINT, signal.default_int_handler)
store, base, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
log = AttemptLog(store, name)
requests = [make_request(f"k{n}", url=f"{base}/{n}") for n in range(int(sys.argv[4]))]
try:
    for row in make_source("urls", store, QUICK).fetch(requests):
        log.append(to_row(row, name, 1))
        print(row.clip_id, row.status, flush=True)
except KeyboardInterrupt:
    log.close()
    sys.exit(130)
log.close()
"""


def test_sigint_stops_the_run_and_leaves_no_process(server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path), f"{server.url}/hang/a.mp4?", "r", "8"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: len(server.log.requests) >= 4)
    children = children_of(running.pid)
    assert len(children) == QUICK.workers
    running.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert running.wait(60) == 130
    assert time.monotonic() - began < QUICK.ytdlp["socket_timeout"], "no attempt has timed out"
    wait_until(lambda: not any(map(alive, children)))


def test_a_killed_run_leaves_no_process_and_no_unfinished_file(server, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path), f"{server.url}/drip/a.mp4?", "r", "8"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: len(server.log.requests) >= 4)
    children = children_of(running.pid)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    wait_until(lambda: not any(map(alive, children)))
    assert not list((tmp_path / "raw" / "toy").glob("[!.]*"))
    (row,) = fetch_urls(tmp_path, [make_request("k0", url=f"{server.url}/ok/a.mp4")])
    assert row.status == "stored"
    assert not list((tmp_path / "raw" / "toy" / ".incoming").iterdir())


def children_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(condition, timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.05)
