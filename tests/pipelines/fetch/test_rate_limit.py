"""The bucket and the breaker, on a clock of their own."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.clock import utc_now
from avstore.pipelines.fetch.rate_limit import Gate, in_words
from avstore.pipelines.fetch.source import FetchResult


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def ended(verdict: Verdict | None = None) -> FetchResult:
    status = POLICIES[verdict].status if verdict else "stored"
    return FetchResult("toy/a", status, verdict, f"{verdict}", None, 0.0, utc_now(), 0.0, "t")


def gate(folder: Path, clock: Clock, rate: float = 0.0, burst: int = 1) -> Gate:
    return Gate(folder / "gate.json", rate, burst=burst, clock=clock)


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([60.0, 280.0, 3600.0, 360_000.0]),
    burst=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_no_window_holds_more_than_rate_and_burst_whatever_is_killed(
    tmp_path_factory, rate: float, burst: int, seed: int
) -> None:
    folder, clock, chance = tmp_path_factory.mktemp("gate"), Clock(), random.Random(seed)
    one, begun = gate(folder, clock, rate, burst), []
    spacing = 3600.0 / rate
    for _ in range(120):
        if chance.random() < 0.1:  # killed; another run begins
            one = gate(folder, clock, rate, burst)
        if one.wait_s() <= 0.0:
            one.end(one.begin(), ended())
            begun.append(clock.now)
        else:
            clock.now += chance.choice([one.wait_s(), spacing * chance.random()])
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            seconds = begun[last] - begun[first]
            assert last - first + 1 <= seconds / spacing + burst + 1e-6


def test_the_rate_is_reached(tmp_path: Path) -> None:
    clock = Clock()
    one, count = gate(tmp_path, clock, 280.0), 0
    end = clock.now + 3600.0
    while clock.now < end:
        clock.now += one.wait_s()
        one.end(one.begin(), ended())
        count += 1
    assert 279 <= count <= 281


def test_a_rate_limit_pauses_one_goes_ahead_and_success_opens(tmp_path: Path) -> None:
    clock = Clock()
    one = gate(tmp_path, clock)
    first, second = one.begin(), one.begin()
    one.end(first, ended(Verdict.RATE_LIMITED))
    wait = one.wait_s()
    assert 600.0 <= wait <= 750.0
    one.end(second, ended(Verdict.RATE_LIMITED))
    assert one.wait_s() == wait, "what was under way when it began adds nothing"
    assert "cookies" in one.why()
    clock.now += wait
    probe = one.begin()
    assert one.wait_s() > 0.0, "one attempt goes ahead, alone"
    one.end(probe, ended(Verdict.RATE_LIMITED))
    assert 1200.0 <= one.wait_s() <= 1500.0
    clock.now += one.wait_s()
    one.end(one.begin(), ended(Verdict.PRIVATE))
    assert one.wait_s() == 0.0
    assert not one.paused


def test_the_server_says_how_long(tmp_path: Path) -> None:
    one = gate(tmp_path, Clock())
    one.end(one.begin(), ended(Verdict.RATE_LIMITED), retry_after_s=7.0)
    assert 7.0 <= one.wait_s() <= 8.75


def test_a_pause_outlives_the_run(tmp_path: Path) -> None:
    clock = Clock()
    one = gate(tmp_path, clock)
    one.end(one.begin(), ended(Verdict.BOT_CHECK))
    wait = one.wait_s()
    clock.now += 100.0
    again = gate(tmp_path, clock)
    assert again.paused
    assert again.wait_s() == wait - 100.0
    assert "bot_check" in again.why()
    clock.now += again.wait_s()
    again.end(again.begin(), ended(Verdict.BOT_CHECK))
    assert again.wait_s() >= 7200.0, "the second pause in a row is longer, in another run too"
    assert again.paused_for_s() > wait


def test_a_state_that_cannot_be_read_and_a_clock_set_back_do_no_harm(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "gate.json").write_text("{torn")
    one = gate(tmp_path, clock, 3600.0)
    assert 0.0 < one.wait_s() <= 1.0
    (tmp_path / "gate.json").write_text(json.dumps({"next_free": clock.now + 1e9}))
    assert gate(tmp_path, clock, 3600.0).wait_s() <= 1.0


def test_durations_in_words() -> None:
    assert [in_words(s) for s in (45, 720, 12_600, 28 * 86_400)] == [
        "45 s", "12 min", "3.5 h", "28 days",
    ]  # fmt: skip
