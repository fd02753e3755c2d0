"""Limit the rate of attempts with a token bucket and pause them with a circuit breaker.

The driver alone starts attempts, so one limiter in the driver limits all workers. Its state is a
small JSON file in the store, written before an attempt begins, so that a killed run and the next
one together also keep the rate.
"""

import json
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.source import FetchResult

_LOG = logging.getLogger(__name__)
_MAX_DOUBLINGS = 3
#: Below this spacing of attempts the state is not written for each of them.
_MIN_WRITTEN_SPACING_S = 0.02

REMEDIES: dict[Verdict, str] = {
    Verdict.RATE_LIMITED: "set a lower rate_per_hour, use the cookies of a signed-in browser or "
    "another address or proxy, or run the command again later",
    Verdict.BOT_CHECK: "use the cookies of a signed-in browser, a PO token, or another address or "
    "proxy, or run the command again later",
    Verdict.DNS: "host names cannot be resolved; check this machine's network and proxy",
    Verdict.DISK_FULL: "free some space, or move the store to a larger disk",
}


@dataclass(frozen=True)
class LimiterState:
    """The state that outlives a run. Times are seconds since the epoch.

    Attributes:
        next_free: When the bucket has a whole token again if no more are taken.
        open_until: When the breaker, which is open during a pause, closes.
        failures: Pauses in a row without a success between them.
        paused_since: When the first of these pauses began.
        verdict: What caused the latest pause, or None.
        message: The error message of that attempt.
    """

    next_free: float = 0.0
    open_until: float = 0.0
    failures: int = 0
    paused_since: float = 0.0
    verdict: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Permit:
    """Permission to begin one attempt.

    Attributes:
        generation: How many pauses the run had seen when the permit was given.
    """

    generation: int


class RateLimiter:
    """A token bucket with a circuit breaker, used by the driver's thread alone.

    Args:
        path: The state file.
        rate_per_hour: Attempts started per hour, evenly spaced; 0 sets no limit.
        burst: Attempts that may start at once after an idle time.
        wait_scale: Factor on the policies' pauses.
        max_pause_s: The longest single pause, whatever the server asks for.
        clock: Returns the seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        rate_per_hour: float,
        *,
        burst: int = 1,
        wait_scale: float = 1.0,
        max_pause_s: float = math.inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.spacing_s = 3600.0 / rate_per_hour if rate_per_hour else 0.0
        self.slack_s = self.spacing_s * (burst - 1)
        self.wait_scale = wait_scale
        self.max_pause_s = max_pause_s
        self.clock = clock
        self.state = self._load()
        self._generation = 0
        self._probe: Permit | None = None
        self._excess_s = 0.0
        if self.spacing_s:
            self._save()  # so that the next run sees this one even if no attempt begins

    @property
    def paused(self) -> bool:
        """Whether a pause has begun and no attempt has succeeded since."""
        return self.state.failures > 0

    def paused_for_s(self) -> float:
        """Return how many seconds the pauses in a row would last, were the latest not capped."""
        if not self.paused:
            return 0.0
        return self.state.open_until - self.state.paused_since + self._excess_s

    def wait_s(self) -> float:
        """Return the seconds until an attempt may begin; 0.0 means now.

        After a pause a single attempt probes the site; the others wait for its result.
        """
        if self.paused and self._probe is not None:
            return 3600.0
        token = self.state.next_free - self.slack_s if self.spacing_s else 0.0
        return max(0.0, max(token, self.state.open_until) - self.clock())

    def acquire(self) -> Permit:
        """Take a token. Call it only when `wait_s` is 0."""
        permit = Permit(self._generation)
        if self.paused:
            self._probe = permit
        if self.spacing_s:
            start = max(self.state.next_free, self.clock())
            self.state = replace(self.state, next_free=start + self.spacing_s)
            if self.spacing_s >= _MIN_WRITTEN_SPACING_S:
                self._save()
        return permit

    def release(
        self, permit: Permit, result: FetchResult, retry_after_s: float | None = None
    ) -> None:
        """End an attempt: open the breaker where its result asks for a pause, or close it.

        Args:
            permit: The attempt's permit.
            result: The attempt's result.
            retry_after_s: Seconds that the server asked to wait, or None.
        """
        probing = permit is self._probe
        if probing:
            self._probe = None
        verdict = result.verdict
        if verdict is not None and POLICIES[verdict].pauses_queue:
            # Attempts that began before the pause only repeat what is known.
            if permit.generation == self._generation:
                self._pause(verdict, result.message, retry_after_s)
        elif self.paused and probing:
            self.state = replace(
                self.state, open_until=0.0, failures=0, paused_since=0.0, verdict=None, message=""
            )
            self._save()
            _LOG.warning("fetching continues")

    def pause_reason(self) -> str:
        """Return what paused the queue and what to do about it; '' when it is not paused."""
        if not self.paused or self.state.verdict is None:
            return ""
        verdict = Verdict(self.state.verdict)
        return f"{verdict.value} ({self.state.message}); {REMEDIES.get(verdict, '')}"

    def _pause(self, verdict: Verdict, message: str, retry_after_s: float | None) -> None:
        now = self.clock()
        failures = self.state.failures + 1
        wait = retry_after_s
        if wait is None:
            wait = (POLICIES[verdict].retry_after_s or 0.0) * self.wait_scale
        wait *= 2 ** min(failures - 1, _MAX_DOUBLINGS) * random.uniform(1.0, 1.25)
        self._excess_s = max(0.0, wait - self.max_pause_s)
        wait -= self._excess_s
        self._generation += 1
        self.state = replace(
            self.state,
            open_until=now + wait,
            failures=failures,
            paused_since=self.state.paused_since or now,
            verdict=verdict.value,
            message=message,
        )
        self._save()
        _LOG.warning("fetching pauses for %s: %s", format_duration(wait), self.pause_reason())

    def _load(self) -> LimiterState:
        now = self.clock()
        try:
            saved = LimiterState(**json.loads(self.path.read_text()))
        except FileNotFoundError:
            return LimiterState(next_free=now)
        except (OSError, ValueError, TypeError) as error:
            _LOG.warning(
                "%s cannot be read (%s); the rate limit starts with an empty bucket",
                self.path,
                error,
            )
            return LimiterState(next_free=now + self.spacing_s + self.slack_s)
        # Bounded, so that a clock set back does not stop the queue forever.
        latest = now + self.spacing_s + self.slack_s
        next_free = min(saved.next_free, latest)
        if 0 < self.spacing_s < _MIN_WRITTEN_SPACING_S:
            next_free = latest  # tokens that were taken but not written count as taken
        open_until = saved.open_until
        if open_until > now + self.max_pause_s:
            open_until = now  # one attempt finds out whether the pause still holds
        return replace(saved, next_free=max(next_free, now), open_until=open_until)

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temp = self.path.with_name(f".{self.path.name}.tmp")
        temp.write_text(json.dumps(asdict(self.state)))
        temp.replace(self.path)


def format_duration(seconds: float) -> str:
    """Format a duration in its largest fitting unit: 45 s, 12 min, 3.5 h, 28 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
