"""Fetch many clips from a server that fails in every way while the run is killed repeatedly."""

import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from avstore.manifests.account import accounts, check_accounts
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict, attempts_exhausted
from tests.faults.fetch_runner import annotate
from tests.pipelines.fetch.clips import QUICK, tiny_video
from tests.servers.media_server import MediaServer

V = Verdict


@dataclass(frozen=True)
class Behaviour:
    """How the server answers for a clip.

    Attributes:
        command: The server's command, see `MediaServer`.
        weight: Clips of 100 that have it.
        verdict: The clip's last verdict, or None where it is fetched in the end.
        requests: HTTP requests of one attempt.
    """

    command: str
    weight: float
    verdict: Verdict | None
    requests: int

    def starts_attempt(self, number: int) -> bool:
        """Return whether a clip's request of this number (from 0) is the first of an attempt."""
        times, _, rest = self.command.partition("x")
        if self.requests > 1 or not (rest and times.isdigit()):
            return number % self.requests == 0
        return number < int(times) or (number - int(times)) % 2 == 0


BEHAVIOURS = (
    Behaviour("ok", 60, None, 2),
    Behaviour("norange", 4, None, 2),
    Behaviour("404", 6, V.NOT_FOUND, 1),
    Behaviour("403", 3, V.PRIVATE, 1),
    Behaviour("410", 3, V.REMOVED, 1),
    Behaviour("2x500", 5, None, 1),
    Behaviour("500", 3, V.HTTP_5XX, 1),
    Behaviour("1x429-0", 3, None, 1),
    Behaviour("1x429", 2, None, 1),
    Behaviour("2xreset", 4, None, 2),
    Behaviour("short", 2, V.CONNECTION, 2),
    Behaviour("html", 1, V.UNKNOWN, 1),
    Behaviour("liar", 2, V.UNKNOWN, 2),
    Behaviour("silent", 0.3, V.TIMEOUT, 1),
    Behaviour("drip", 0.3, V.TIMEOUT, 2),
)


@dataclass(frozen=True)
class Storm:
    """What a storm left.

    Attributes:
        store: The store.
        behaviours: The server's behaviour by clip key.
        requests: The server's log: (seconds since the epoch, clip key).
        kills: How often the run was killed.
    """

    store: Store
    behaviours: dict[str, Behaviour]
    requests: list[tuple[float, str]]
    kills: int


def run_storm(
    folder: Path,
    clips: int,
    rate_per_hour: float,
    kills: int,
    seed: int = 0,
    workers: int = QUICK.workers,
) -> Storm:
    """Fetch `clips` clips, killing the run `kills` times after a random number of outcomes."""
    rng = random.Random(seed)
    served, store = folder / "served", Store(folder / "store")
    served.mkdir()
    chosen = rng.choices(BEHAVIOURS, [b.weight for b in BEHAVIOURS], k=clips)
    behaviours = {f"k{n:05d}": behaviour for n, behaviour in enumerate(chosen)}
    for key in behaviours:
        (served / f"{key}.mp4").write_bytes(tiny_video() + key.encode())
    with MediaServer(served) as server:
        annotate(store, {k: f"{server.url}/{b.command}/{k}.mp4" for k, b in behaviours.items()})
        call = [store.root, rate_per_hour, workers]
        for _ in range(kills):
            # All kills together come before the last outcome: there is at least one per clip.
            _kill_after(call, rng.randint(1, clips // (kills + 1)))
        _run_to_end(call)
        requests = [(at, path.split("/")[2][:6]) for at, _, path, _ in server.log.requests]
    return Storm(store, behaviours, requests, kills)


def _start(call: list[object]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.faults.fetch_runner", *map(str, call)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _kill_after(call: list[object], outcomes: int) -> None:
    """Start a run and kill it once it has recorded a number of outcomes: one dot each."""
    runner = _start(call)
    assert runner.stdout is not None
    assert len(runner.stdout.read(outcomes)) == outcomes, "the run ended before it was killed"
    runner.kill()
    runner.communicate()
    assert runner.returncode < 0, "the run ended before it was killed"


def _run_to_end(call: list[object]) -> None:
    runner = _start(call)
    _, errors = runner.communicate()
    assert runner.returncode == 0, errors.decode()[-3000:]


def check_storm(storm: Storm) -> None:
    """Check that the account closes and that no clip is lost or was tried too often."""
    with open_read(storm.store) as con:
        check_accounts(con, "toy")
        account = next(a for a in accounts(con, "toy") if a.stage == "fetch")
        status = {
            key: (state, verdict, attempts)
            for key, state, verdict, attempts in con.execute(
                "SELECT split_part(clip_id, '/', 2), status, verdict, attempts FROM status "
                "WHERE stage = 'fetch'"
            ).fetchall()
        }
        met = con.execute(
            "SELECT split_part(clip_id, '/', 2), list(error_class ORDER BY started_at) "
            "FROM attempts WHERE charged AND outcome = 'retryable' GROUP BY clip_id"
        ).fetchall()
    assert account.pending == 0
    assert account.wanted == len(storm.behaviours)
    expected = {key: b.verdict.value if b.verdict else None for key, b in storm.behaviours.items()}
    assert {key: verdict for key, (_, verdict, _) in status.items()} == expected
    raw = storm.store.root / "raw" / "toy"
    for key, behaviour in storm.behaviours.items():
        path = raw / f"{key}.mp4"
        if behaviour.verdict is None:
            assert status[key][0] == "stored"
            assert path.read_bytes() == tiny_video() + key.encode()
        else:
            assert status[key][0] == POLICIES[behaviour.verdict].status
            assert not path.exists()
    for key, verdicts in met:
        assert not attempts_exhausted(map(V, verdicts[:-1]), len(verdicts) - 1), (key, verdicts)
    seen = Counter(key for _, key in storm.requests)
    for key, behaviour in storm.behaviours.items():
        if behaviour.verdict is None:
            continue
        limit = POLICIES[behaviour.verdict].max_attempts or 1
        attempts = seen[key] / behaviour.requests
        # Each kill may lose one attempt that the server saw before it was recorded.
        assert attempts <= limit + storm.kills, f"{behaviour.command}: {attempts} attempts"


def attempt_times(storm: Storm) -> list[float]:
    """Return when the server saw attempts begin, sorted, in seconds since the epoch.

    A killed attempt may have made half of its requests, so after a kill a clip's later attempts
    may be counted once too often.
    """
    count: Counter[str] = Counter()
    times = []
    for at, key in storm.requests:
        if storm.behaviours[key].starts_attempt(count[key]):
            times.append(at)
        count[key] += 1
    return sorted(times)


def largest_excess(storm: Storm, rate_per_hour: float) -> float:
    """Return by how many attempts the server saw more than the rate allows, in any window."""
    spacing = 3600.0 / rate_per_hour
    excess, lowest = 0.0, float("inf")
    for number, at in enumerate(attempt_times(storm)):
        # number - at / spacing may rise by at most the burst from any start to any end
        lowest = min(lowest, number - at / spacing)
        excess = max(excess, number + 1 - at / spacing - lowest)
    return excess


def test_a_storm_with_kills_leaves_a_closed_account(tmp_path: Path) -> None:
    rate = 30 * 3600.0
    storm = run_storm(tmp_path, clips=300, rate_per_hour=rate, kills=3)
    check_storm(storm)
    assert len(attempt_times(storm)) >= 300
    # One token, and the attempts that a busy machine delays on their way to the server.
    slack = QUICK.workers * (1 + storm.kills)
    assert largest_excess(storm, rate) <= 1 + slack


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_clips_and_many_kills(tmp_path: Path) -> None:
    storm = run_storm(tmp_path, clips=800, rate_per_hour=0.0, kills=10, seed=1, workers=6)
    check_storm(storm)
