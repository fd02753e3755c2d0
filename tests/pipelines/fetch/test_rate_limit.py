"""Test the token bucket and the circuit breaker with a simulated clock."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.ledger import now
from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.rate_limit import RateLimiter, format_duration
from avstore.pipelines.fetch.source import FetchResult


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def make_result(verdict: Verdict | None = None) -> FetchResult:
    status = POLICIES[verdict].status if verdict else "stored"
    return FetchResult("toy/a", status, verdict, f"{verdict}", None, 0.0, now(), 0.0, "t")


def make_limiter(folder: Path, clock: Clock, rate: float = 0.0, burst: int = 1) -> RateLimiter:
    return RateLimiter(folder / "state.json", rate, burst=burst, clock=clock)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([60.0, 280.0, 3600.0, 360_000.0]),
    burst=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_no_window_exceeds_rate_and_burst_across_killed_runs(
    tmp_path_factory, rate: float, burst: int, seed: int
) -> None:
    folder, clock, rng = tmp_path_factory.mktemp("state"), Clock(), random.Random(seed)
    limiter, starts = make_limiter(folder, clock, rate, burst), []
    spacing = 3600.0 / rate
    for _ in range(120):
        if rng.random() < 0.1:  # the run is killed and another begins
            limiter = make_limiter(folder, clock, rate, burst)
        if limiter.wait_s() <= 0.0:
            limiter.release(limiter.acquire(), make_result())
            starts.append(clock.now)
        else:
            clock.now += rng.choice([limiter.wait_s(), spacing * rng.random()])
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            seconds = starts[last] - starts[first]
            assert last - first + 1 <= seconds / spacing + burst + 1e-6


def test_the_rate_is_used_fully(tmp_path: Path) -> None:
    clock = Clock()
    limiter, count = make_limiter(tmp_path, clock, 280.0), 0
    end = clock.now + 3600.0
    while clock.now < end:
        clock.now += limiter.wait_s()
        limiter.release(limiter.acquire(), make_result())
        count += 1
    assert 279 <= count <= 281


def test_after_a_pause_one_probe_runs_and_its_success_ends_the_pause(tmp_path: Path) -> None:
    clock = Clock()
    limiter = make_limiter(tmp_path, clock)
    first, second = limiter.acquire(), limiter.acquire()
    limiter.release(first, make_result(Verdict.RATE_LIMITED))
    wait = limiter.wait_s()
    assert 600.0 <= wait <= 750.0
    limiter.release(second, make_result(Verdict.RATE_LIMITED))
    assert limiter.wait_s() == wait, "attempts that began before the pause do not extend it"
    assert "cookies" in limiter.pause_reason()
    clock.now += wait
    probe = limiter.acquire()
    assert limiter.wait_s() > 0.0, "only the probe may run"
    limiter.release(probe, make_result(Verdict.RATE_LIMITED))
    assert 1200.0 <= limiter.wait_s() <= 1500.0
    clock.now += limiter.wait_s()
    limiter.release(limiter.acquire(), make_result(Verdict.PRIVATE))
    assert limiter.wait_s() == 0.0
    assert not limiter.paused


def test_the_servers_retry_after_sets_the_pause(tmp_path: Path) -> None:
    limiter = make_limiter(tmp_path, Clock())
    limiter.release(limiter.acquire(), make_result(Verdict.RATE_LIMITED), retry_after_s=7.0)
    assert 7.0 <= limiter.wait_s() <= 8.75


def test_no_server_can_ask_for_more_than_the_longest_pause(tmp_path: Path) -> None:
    clock = Clock()
    limiter = RateLimiter(tmp_path / "state.json", 0.0, max_pause_s=3600.0, clock=clock)
    limiter.release(limiter.acquire(), make_result(Verdict.RATE_LIMITED), retry_after_s=999999999)
    assert limiter.wait_s() == 3600.0
    assert limiter.paused_for_s() > 3600.0, "so that the run stops"
    next_limiter = RateLimiter(tmp_path / "state.json", 0.0, max_pause_s=3600.0, clock=clock)
    assert next_limiter.wait_s() == 3600.0
    clock.now += 3600.0
    next_limiter.release(next_limiter.acquire(), make_result(Verdict.PRIVATE))
    assert next_limiter.wait_s() == 0.0


def test_a_state_that_pauses_for_decades_is_probed_at_once(tmp_path: Path) -> None:
    clock = Clock()
    state = {"open_until": clock.now + 1e9, "failures": 1, "verdict": "rate_limited"}
    (tmp_path / "state.json").write_text(json.dumps(state))
    limiter = RateLimiter(tmp_path / "state.json", 0.0, max_pause_s=3600.0, clock=clock)
    assert limiter.wait_s() == 0.0
    limiter.acquire()
    assert limiter.wait_s() > 0.0, "only the probe may run"


def test_a_pause_lasts_into_the_next_run(tmp_path: Path) -> None:
    clock = Clock()
    limiter = make_limiter(tmp_path, clock)
    limiter.release(limiter.acquire(), make_result(Verdict.BOT_CHECK))
    wait = limiter.wait_s()
    clock.now += 100.0
    next_limiter = make_limiter(tmp_path, clock)
    assert next_limiter.paused
    assert next_limiter.wait_s() == wait - 100.0
    assert "bot_check" in next_limiter.pause_reason()
    clock.now += next_limiter.wait_s()
    next_limiter.release(next_limiter.acquire(), make_result(Verdict.BOT_CHECK))
    assert next_limiter.wait_s() >= 7200.0, "the second pause in a row is longer in any run"
    assert next_limiter.paused_for_s() > wait


def test_an_unreadable_state_or_a_clock_set_back_waits_one_spacing_at_most(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "state.json").write_text("{torn")
    limiter = make_limiter(tmp_path, clock, 3600.0)
    assert 0.0 < limiter.wait_s() <= 1.0
    (tmp_path / "state.json").write_text(json.dumps({"next_free": clock.now + 1e9}))
    assert make_limiter(tmp_path, clock, 3600.0).wait_s() <= 1.0


def test_durations_are_formatted_in_their_largest_unit() -> None:
    assert [format_duration(s) for s in (45, 720, 12_600, 28 * 86_400)] == [
        "45 s", "12 min", "3.5 h", "28 days",
    ]  # fmt: skip
