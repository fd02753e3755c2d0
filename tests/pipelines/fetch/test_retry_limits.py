"""Test how often a clip is tried that fails in several ways, within a run and across runs."""

from itertools import islice
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
from avstore.manifests.verdicts import POLICIES, Verdict, attempts_exhausted
from avstore.pipelines.fetch.attempt import Attempt
from avstore.pipelines.fetch.attempt_pool import AttemptPool
from avstore.pipelines.fetch.guards import DiskGuard
from avstore.pipelines.fetch.rate_limit import RateLimiter
from avstore.pipelines.fetch.requests import select_requests
from avstore.pipelines.fetch.source import FetchOptions, FetchResult, MediaRequest
from tests.pipelines.fetch.recorded_store import (
    TOY,
    make_recorded_store,
    make_result,
    record,
    retry,
)

V = Verdict
RETRYABLE = [verdict for verdict, policy in POLICIES.items() if policy.status == "retryable"]
#: Only those that are charged; a pause is limited by the run, not by the clip.
CHARGED = [verdict for verdict in RETRYABLE if not POLICIES[verdict].pauses_queue]
ONE = 19  # a clip of `recorded_store` that was never tried


def allowed(verdicts: list[Verdict]) -> int:
    """Return how many attempts of a clip happen if each would end with the next verdict."""
    charged: list[int] = []
    for number, verdict in enumerate(verdicts, start=1):
        charged += [POLICIES[verdict].max_attempts or 10**9] * (verdict in CHARGED)
        if charged and len(charged) >= min(charged):
            return number
    return len(verdicts)


def run_pool(
    folder: Path, request: MediaRequest, verdicts: list[Verdict], killed_after: int
) -> list[FetchResult]:
    """Return the results of a run whose attempts end with `verdicts`, until it is killed."""
    left = iter(verdicts)

    def attempt(_: MediaRequest) -> Attempt:
        return Attempt(make_result(ONE, next(left, None)))

    limiter = RateLimiter(folder / "state.json", 0.0, wait_scale=0.0)
    options = FetchOptions(workers=1, abort_share=1.1)
    pool = AttemptPool(attempt, limiter, options, DiskGuard(folder, 0))
    return list(islice(pool.run([request]), killed_after))


def next_request(store: Store) -> MediaRequest | None:
    """Return the request for the clip in the next run, or None."""
    with open_read(store) as con:
        due = select_requests(con, TOY, False, "youtube by yt-dlp 2")
    return next((request for request in due if request.key == f"k{ONE:05d}"), None)


@settings(max_examples=60, deadline=None)
@given(verdicts=st.lists(st.sampled_from(CHARGED), min_size=1, max_size=9))
def test_a_run_gives_up_at_the_smallest_limit_met(tmp_path_factory, verdicts) -> None:
    request = MediaRequest("toy/a", "a", "a", None, None, ())
    made = run_pool(tmp_path_factory.mktemp("pool"), request, verdicts, allowed(verdicts) + 1)
    assert [result.verdict for result in made][: len(verdicts)] == verdicts[: allowed(verdicts)]


@settings(max_examples=12, deadline=None)
@given(
    verdicts=st.lists(st.sampled_from(RETRYABLE), min_size=3, max_size=8),
    shares=st.lists(st.integers(1, 3), min_size=8, max_size=8),
    retried=st.booleans(),
)
@example([V.UNKNOWN, V.UNKNOWN, V.TIMEOUT, V.UNKNOWN], [1, 1, 1, 1], False)
@example([V.TIMEOUT, V.UNKNOWN, V.TIMEOUT, V.TIMEOUT], [2, 2], True)
def test_killed_runs_together_give_up_at_the_smallest_limit_met(
    tmp_path_factory, verdicts: list[Verdict], shares: list[int], retried: bool
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    store = make_recorded_store(folder / "store")
    if retried:  # what was met before a retry does not count after it
        record(store, "old", [make_result(ONE, V.UNKNOWN) for _ in range(3)])
        assert next_request(store) is None
        retry(store, [f"toy/k{ONE:05d}"])
    made: list[Verdict | None] = []
    for number, share in enumerate(shares):
        left = verdicts[len(made) :]
        request = next_request(store)
        if request is None or not left:
            break
        results = run_pool(folder, request, left, min(share, len(left)))
        record(store, f"run{number}", results)
        made += [result.verdict for result in results]
    assert made == verdicts[: min(allowed(verdicts), len(made))]
    if len(made) == allowed(verdicts) and attempts_exhausted(
        [v for v in verdicts[: len(made)] if v in CHARGED], sum(v in CHARGED for v in made)
    ):
        assert next_request(store) is None
    else:
        assert next_request(store) is not None
