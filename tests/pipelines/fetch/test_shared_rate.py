"""Test that builds of several stores keep one rate limit together."""

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.rate_limit import RateLimiter, site_of, state_file
from tests.faults.fetch_runner import annotate
from tests.pipelines.fetch.clips import tiny_video
from tests.pipelines.fetch.test_rate_limit import Clock, make_result
from tests.servers.media_server import MediaServer

CLIPS = 12
WORKERS = 3


def run_builds(tmp_path: Path, rate_per_hour: float) -> tuple[list[float], list[float]]:
    """Fetch into two stores at once; return when attempts began, and reached the server."""
    (tmp_path / "served").mkdir()
    stores = [Store(tmp_path / name) for name in ("one", "two")]
    with MediaServer(tmp_path / "served") as server:
        for store in stores:
            keys = [f"{store.root.name}{number}" for number in range(CLIPS)]
            for key in keys:
                (tmp_path / "served" / f"{key}.mp4").write_bytes(tiny_video() + key.encode())
            annotate(store, {key: f"{server.url}/ok/{key}.mp4" for key in keys})
        command = [sys.executable, "-m", "tests.faults.fetch_runner"]
        words = [str(rate_per_hour), str(WORKERS)]
        runs = [subprocess.Popen([*command, str(store.root), *words]) for store in stores]
        assert [run.wait() for run in runs] == [0, 0]
        seen: dict[str, float] = {}
        for at, _, path, _ in server.log.requests:
            seen.setdefault(path, at)
    began: list[float] = []
    for store in stores:
        with open_read(store) as con:
            rows = con.execute("SELECT epoch(started_at) FROM attempts").fetchall()
        began += [at for (at,) in rows]
    return sorted(began), sorted(seen.values())


def excess(starts: list[float], per_second: float) -> float:
    """Return by how many starts the worst window exceeds the rate."""
    return max(
        last - first + 1 - per_second * (starts[last] - starts[first])
        for first in range(len(starts))
        for last in range(first, len(starts))
    )


@pytest.mark.slow
def test_two_builds_together_keep_the_limit(tmp_path: Path) -> None:
    began, seen = run_builds(tmp_path, 2 * 3600.0)
    assert len(began) == len(seen) == 2 * CLIPS
    assert excess(began, 2.0) <= 1 + 1, "one token, and a thread that a busy machine delays"
    # Each worker may be delayed on its way to the server by a busy machine.
    assert excess(seen, 2.0) <= 1 + 2 * WORKERS


def test_two_limiters_of_one_file_take_turns(tmp_path: Path) -> None:
    clock = Clock()
    pair = [RateLimiter(tmp_path / "s.json", 3600.0, clock=clock) for _ in range(2)]
    counts = [0, 0]
    for step in range(1000):
        for number in (step // 8 % 2, 1 - step // 8 % 2):
            if pair[number].wait_s() <= 0.0 and (permit := pair[number].acquire()):
                pair[number].release(permit, make_result())
                counts[number] += 1
        clock.now += 0.125
    assert 124 <= sum(counts) <= 126
    assert min(counts) > 0


def test_the_token_that_another_build_took_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    one, two = (RateLimiter(tmp_path / "s.json", 3600.0, clock=clock) for _ in range(2))
    assert one.wait_s() == two.wait_s() == 0.0
    assert one.acquire()
    assert two.acquire() is None


def test_a_pause_of_one_build_pauses_the_other_and_ends_for_both(tmp_path: Path) -> None:
    clock = Clock()
    one, two = (RateLimiter(tmp_path / "s.json", 0.0, clock=clock) for _ in range(2))
    first, second = one.acquire(), two.acquire()
    assert first
    assert second
    one.release(first, make_result(Verdict.RATE_LIMITED))
    wait = two.wait_s()
    assert wait >= 600.0
    two.release(second, make_result(Verdict.RATE_LIMITED))
    assert two.wait_s() == wait, "it began before the pause and repeats what is known"
    clock.now += wait
    probe = one.acquire()
    assert probe
    one.release(probe, make_result())
    assert two.wait_s() == 0.0
    assert not two.paused


def hold_and_die(path: str) -> None:
    FileLock(path).acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_build_that_died_with_the_lock_blocks_nobody(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("spawn").Process(
        target=hold_and_die, args=(f"{tmp_path / 's.json'}.lock",)
    )
    holder.start()
    holder.join()
    assert holder.exitcode == -signal.SIGKILL
    assert RateLimiter(tmp_path / "s.json", 3600.0).acquire()


@pytest.mark.parametrize("content", ["{torn", json.dumps({"next_free": 9e12})])
def test_a_damaged_state_or_a_clock_set_back_ends(tmp_path: Path, content: str) -> None:
    clock = Clock()
    (tmp_path / "s.json").write_text(content)
    limiter = RateLimiter(tmp_path / "s.json", 3600.0, clock=clock)
    (tmp_path / "s.json").write_text(content)
    assert 0.0 < limiter.wait_s() <= 1.0
    clock.now += 1.0
    assert limiter.acquire()


def test_a_machine_whose_clock_is_ahead_keeps_its_own_rate(tmp_path: Path) -> None:
    behind, ahead = Clock(), Clock(Clock.now + 1000.0)
    one = RateLimiter(tmp_path / "s.json", 3600.0, clock=behind)
    two = RateLimiter(tmp_path / "s.json", 3600.0, clock=ahead)
    counts = [0, 0]
    for _ in range(1000):
        for number, limiter in enumerate((one, two)):
            if limiter.wait_s() <= 0.0 and limiter.acquire():
                counts[number] += 1
        behind.now += 0.1
        ahead.now += 0.1
    assert max(counts) <= 101


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        path = state_file("youtube", str(tmp_path / "file" / "sub"), tmp_path / "store")
    assert path == tmp_path / "store" / "fetch-youtube.json"
    (line,) = caplog.messages
    assert "for this store alone" in line
    limiter = RateLimiter(path, 3600.0)
    assert limiter.acquire()
    (tmp_path / "store").rename(tmp_path / "gone")
    (tmp_path / "store").touch()
    with caplog.at_level(logging.WARNING):
        assert 0.0 < limiter.wait_s() <= 1.0
    assert "for this build alone" in caplog.messages[-1]


def test_the_folder_is_the_users_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_file("a", str(tmp_path / "b"), store) == tmp_path / "b" / "fetch-a.json"
    monkeypatch.delenv("AVSTORE_RATE_STATE")
    assert state_file("a", None, store) == tmp_path / "xdg" / "avstore" / "fetch-a.json"
    monkeypatch.delenv("XDG_STATE_HOME")
    expected = tmp_path / "home" / ".local" / "state" / "avstore" / "fetch-a.json"
    assert state_file("a", None, store) == expected


def test_all_hosts_of_youtube_are_one_site() -> None:
    urls = ("https://www.youtube.com/watch?v=a", "https://youtu.be/a", "http://YOUTUBE.com/x")
    assert {site_of(url) for url in urls} == {"youtube"}
    assert site_of("https://notyoutube.com/a") == "notyoutube.com"
    assert site_of("http://me:secret@host:8080/a") == "host"
