"""Many clips against a server that fails in every way, while the run is killed again and again."""

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from avstore.manifests.account import accounts, check_accounts
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict
from tests.faults.fetch_runner import annotate
from tests.pipelines.fetch.clips import QUICK, tiny_video
from tests.servers.media_server import MediaServer

V = Verdict


@dataclass(frozen=True)
class Trouble:
    """A behaviour of the server. weight: of 100 clips. ends: None where it is fetched in the end.

    requests: what one attempt asks of the server.
    """

    command: str
    weight: float
    ends: Verdict | None
    requests: int

    def begins(self, number: int) -> bool:
        """Whether a clip's request of this number (from 0) is the first of an attempt."""
        times, _, rest = self.command.partition("x")
        if self.requests > 1 or not (rest and times.isdigit()):
            return number % self.requests == 0
        return number < int(times) or (number - int(times)) % 2 == 0


TROUBLES = (
    Trouble("ok", 60, None, 2),
    Trouble("norange", 4, None, 2),
    Trouble("404", 6, V.NOT_FOUND, 1),
    Trouble("403", 3, V.PRIVATE, 1),
    Trouble("410", 3, V.REMOVED, 1),
    Trouble("2x500", 5, None, 1),
    Trouble("500", 3, V.HTTP_5XX, 1),
    Trouble("1x429-0", 3, None, 1),
    Trouble("1x429", 2, None, 1),
    Trouble("2xreset", 4, None, 2),
    Trouble("short", 2, V.CONNECTION, 2),
    Trouble("html", 1, V.UNKNOWN, 1),
    Trouble("liar", 2, V.UNKNOWN, 2),
    Trouble("silent", 0.3, V.TIMEOUT, 1),
    Trouble("drip", 0.3, V.TIMEOUT, 2),
)


@dataclass(frozen=True)
class Storm:
    """What a storm left: the store, which trouble each clip had, and what the server saw."""

    store: Store
    trouble: dict[str, Trouble]
    requests: list[tuple[float, str]]
    kills: int


def storm(
    folder: Path,
    clips: int,
    rate_per_hour: float,
    kills: int,
    seed: int = 0,
    workers: int = QUICK.workers,
) -> Storm:
    """Fetch `clips` clips, killing the run `kills` times at random moments."""
    chance = random.Random(seed)
    served, store = folder / "served", Store(folder / "store")
    served.mkdir()
    chosen = chance.choices(TROUBLES, [t.weight for t in TROUBLES], k=clips)
    trouble = {f"k{n:05d}": t for n, t in enumerate(chosen)}
    for key in trouble:
        (served / f"{key}.mp4").write_bytes(tiny_video() + key.encode())
    with MediaServer(served) as server:
        annotate(store, {k: f"{server.url}/{t.command}/{k}.mp4" for k, t in trouble.items()})
        done = 0
        call = [store.root, rate_per_hour, workers]
        while not _run_for(call, chance.uniform(1.0, 4.0) if kills else None):
            kills -= 1
            done += 1
        requests = [(at, path.split("/")[2][:6]) for at, _, path, _ in server.log.requests]
    return Storm(store, trouble, requests, done)


def _run_for(call: list[object], seconds: float | None) -> bool:
    """Run, and kill after `seconds`; whether it came to its end."""
    command = [sys.executable, "-m", "tests.faults.fetch_runner", *map(str, call)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, errors = running.communicate(timeout=None if seconds is None else seconds + 1.5)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        return False
    assert running.returncode == 0, errors.decode()[-3000:]
    return True


def check_storm(found: Storm) -> None:
    """The account closes, what could come has come, nothing was tried too often."""
    with open_read(found.store) as con:
        check_accounts(con, "toy")
        account = next(a for a in accounts(con, "toy") if a.stage == "fetch")
        status = {
            key: (state, verdict, attempts)
            for key, state, verdict, attempts in con.execute(
                "SELECT split_part(clip_id, '/', 2), status, verdict, attempts FROM status "
                "WHERE stage = 'fetch'"
            ).fetchall()
        }
    assert account.pending == 0
    assert account.wanted == len(found.trouble)
    expected = {key: t.ends.value if t.ends else None for key, t in found.trouble.items()}
    assert {key: verdict for key, (_, verdict, _) in status.items()} == expected
    raw = found.store.root / "raw" / "toy"
    for key, trouble in found.trouble.items():
        path = raw / f"{key}.mp4"
        if trouble.ends is None:
            assert status[key][0] == "stored"
            assert path.read_bytes() == tiny_video() + key.encode()
        else:
            assert status[key][0] == POLICIES[trouble.ends].status
            assert not path.exists()
    seen = Counter(key for _, key in found.requests)
    for key, trouble in found.trouble.items():
        limit = POLICIES[trouble.ends].max_attempts if trouble.ends else None
        if trouble.ends and limit is None:
            limit = 1
        if limit is not None:
            assert status[key][2] <= limit
            attempts = seen[key] / trouble.requests
            assert attempts <= limit + found.kills, f"{trouble.command}: {attempts} attempts"


def begun(found: Storm) -> list[float]:
    """When the server saw attempts begin, in order.

    A killed attempt may have asked half of what it would have: after a kill a clip's later
    attempts may count once too often.
    """
    count: Counter[str] = Counter()
    times = []
    for at, key in found.requests:
        if found.trouble[key].begins(count[key]):
            times.append(at)
        count[key] += 1
    return sorted(times)


def largest_excess(found: Storm, rate_per_hour: float) -> float:
    """By how many attempts the server saw more, in any window, than the rate allows."""
    spacing = 3600.0 / rate_per_hour
    excess, lowest = 0.0, float("inf")
    for number, at in enumerate(begun(found)):
        # number - at / spacing may rise by at most the burst from any start to any end
        lowest = min(lowest, number - at / spacing)
        excess = max(excess, number + 1 - at / spacing - lowest)
    return excess


def test_a_storm_with_kills_leaves_a_closed_account(tmp_path: Path) -> None:
    rate = 30 * 3600.0
    began = time.monotonic()
    found = storm(tmp_path, clips=300, rate_per_hour=rate, kills=3)
    assert found.kills == 3
    check_storm(found)
    # One token, and what a busy machine delays on the way to the server: a few attempts.
    slack = QUICK.workers * (1 + found.kills)
    assert largest_excess(found, rate) <= 1 + slack
    assert time.monotonic() - began < 150


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thousands_of_clips_and_many_kills(tmp_path: Path) -> None:
    found = storm(tmp_path, clips=2000, rate_per_hour=0.0, kills=10, seed=1, workers=6)
    assert found.kills == 10
    check_storm(found)
