"""The one gate that every attempt of the fleet passes: a token bucket and a circuit breaker.

It lives in the driver, which alone starts attempts, so its limit is the fleet's. Its state is a
small JSON file in the store, written before an attempt begins: a killed run and the next one
together keep the rate as well.
"""

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.source import FetchResult

_LOG = logging.getLogger(__name__)
_DOUBLINGS = 3
#: Below this spacing of attempts the state is not written for each of them.
_WRITTEN_SPACING_S = 0.02

HELP: dict[Verdict, str] = {
    Verdict.RATE_LIMITED: "a lower rate, cookies of a signed-in browser, another address or proxy, "
    "or going on later helps",
    Verdict.BOT_CHECK: "cookies of a signed-in browser, a PO token, another address or proxy, or "
    "going on later helps",
    Verdict.DNS: "names cannot be resolved: check the network and the proxy of this machine",
    Verdict.DISK_FULL: "free some space, or move the store to a larger disk",
}


@dataclass(frozen=True)
class GateState:
    """What outlives a run. Times are seconds since the epoch.

    next_free: when the bucket has a whole token again, were no more taken. open_until: the
    breaker is open till then. failures: pauses one after the other with no success between;
    paused_since: when the first of them began. verdict, message: what caused the last.
    """

    next_free: float = 0.0
    open_until: float = 0.0
    failures: int = 0
    paused_since: float = 0.0
    verdict: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Ticket:
    """Leave to begin one attempt. generation: how many pauses there had been."""

    generation: int


class Gate:
    """Used by one thread, the driver's.

    rate_per_hour: attempts begun an hour (0: no limit), evenly spaced, `burst` at once at most.
    """

    def __init__(
        self,
        path: Path,
        rate_per_hour: float,
        *,
        burst: int = 1,
        wait_scale: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.spacing_s = 3600.0 / rate_per_hour if rate_per_hour else 0.0
        self.slack_s = self.spacing_s * (burst - 1)
        self.wait_scale = wait_scale
        self.clock = clock
        self.state = self._load()
        self._generation = 0
        self._probe: Ticket | None = None
        if self.spacing_s:
            self._save()  # a run that follows shall know that there was one

    @property
    def paused(self) -> bool:
        return self.state.failures > 0

    def paused_for_s(self) -> float:
        """How long the pause, begun with no success since, will have lasted when it ends."""
        return self.state.open_until - self.state.paused_since if self.paused else 0.0

    def wait_s(self) -> float:
        """Seconds until an attempt may begin; 0.0 means now. After a pause, one goes ahead."""
        now = self.clock()
        if self.paused and self._probe is not None:
            return 3600.0
        token = self.state.next_free - self.slack_s if self.spacing_s else 0.0
        return max(0.0, max(token, self.state.open_until) - now)

    def begin(self) -> Ticket:
        """Take a token; to be called only when `wait_s` is 0."""
        ticket = Ticket(self._generation)
        if self.paused:
            self._probe = ticket
        if self.spacing_s:
            start = max(self.state.next_free, self.clock())
            self.state = replace(self.state, next_free=start + self.spacing_s)
            if self.spacing_s >= _WRITTEN_SPACING_S:
                self._save()
        return ticket

    def end(self, ticket: Ticket, outcome: FetchResult, retry_after_s: float | None = None) -> None:
        """Learn from an attempt: pause the queue, or find that it may go on."""
        probing = ticket is self._probe
        if probing:
            self._probe = None
        verdict = outcome.verdict
        if verdict is not None and POLICIES[verdict].pauses_queue:
            # Those already under way when the pause began only repeat what is known.
            if ticket.generation == self._generation:
                self._pause(verdict, outcome.message, retry_after_s)
        elif self.paused and probing:
            self.state = replace(
                self.state, open_until=0.0, failures=0, paused_since=0.0, verdict=None, message=""
            )
            self._save()
            _LOG.warning("fetching goes on")

    def _pause(self, verdict: Verdict, message: str, retry_after_s: float | None) -> None:
        now = self.clock()
        failures = self.state.failures + 1
        wait = retry_after_s
        if wait is None:
            wait = (POLICIES[verdict].retry_after_s or 0.0) * self.wait_scale
        wait *= 2 ** min(failures - 1, _DOUBLINGS) * random.uniform(1.0, 1.25)
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
        _LOG.warning("fetching pauses for %s: %s", in_words(wait), self.why())

    def why(self) -> str:
        """What paused the queue and what would help, in words; '' when it is not paused."""
        if not self.paused or self.state.verdict is None:
            return ""
        verdict = Verdict(self.state.verdict)
        return f"{verdict.value} ({self.state.message}); {HELP.get(verdict, '')}"

    def _load(self) -> GateState:
        now = self.clock()
        try:
            known = GateState(**json.loads(self.path.read_text()))
        except FileNotFoundError:
            return GateState(next_free=now)
        except (OSError, ValueError, TypeError) as error:
            _LOG.warning("%s cannot be read (%s); starting with an empty bucket", self.path, error)
            return GateState(next_free=now + self.spacing_s + self.slack_s)
        # A clock set back must not stop the queue for ever; what was not written counts as taken.
        latest = now + self.spacing_s + self.slack_s
        free = min(known.next_free, latest)
        if 0 < self.spacing_s < _WRITTEN_SPACING_S:
            free = latest
        return replace(known, next_free=max(free, now))

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temp = self.path.with_name(f".{self.path.name}.tmp")
        temp.write_text(json.dumps(asdict(self.state)))
        temp.replace(self.path)


def in_words(seconds: float) -> str:
    """A duration as a person says it: 45 s, 12 min, 3.5 h, 28 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
