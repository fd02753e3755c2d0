"""Limit the rate of attempts with a token bucket and pause them with a circuit breaker.

The driver alone starts attempts, so one limiter in the driver limits all workers. Its state is a
small JSON file, one per site in a folder that all builds of a user share, read and written under a
lock before an attempt begins. So builds of several stores, or a killed run and the next one, keep
the rate together.
"""

import json
import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from avstore.manifests.verdicts import POLICIES, Verdict
from avstore.pipelines.fetch.source import FetchResult

_LOG = logging.getLogger(__name__)
_MAX_DOUBLINGS = 3
#: Another build holds the lock for a millisecond; a shared folder may take much longer.
_LOCK_TIMEOUT_S = 10.0
_STATE_VARIABLE = "AVSTORE_RATE_STATE"
_YOUTUBE_HOSTS = ("youtube.com", "youtu.be", "googlevideo.com", "youtube-nocookie.com", "ytimg.com")

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
        pauses: Number of pauses so far.
    """

    next_free: float = 0.0
    open_until: float = 0.0
    failures: int = 0
    paused_since: float = 0.0
    verdict: str | None = None
    message: str = ""
    pauses: int = 0


def site_of(url: str) -> str:
    """Return the site whose limit a request counts against: a host, or 'youtube' for all of its.

    Examples:
        >>> site_of("https://rr3---sn-4g5e6nz7.googlevideo.com/videoplayback"), site_of("s3://b/a")
        ('youtube', 'b')
    """
    host = (urlsplit(url).hostname or "").lower()
    if any(host == name or host.endswith(f".{name}") for name in _YOUTUBE_HOSTS):
        return "youtube"
    return host


def state_file(site: str, folder: str | None, fallback: Path) -> Path:
    """Return the limiter's state file of a site, in a folder that all builds share.

    Args:
        site: The site.
        folder: The folder, or None for $AVSTORE_RATE_STATE or the user's own.
        fallback: Folder of this store, used where the shared one cannot be written.
    """
    name = f"fetch-{re.sub(r'[^A-Za-z0-9._-]', '_', site)}.json"
    try:
        shared = Path(folder or os.environ.get(_STATE_VARIABLE) or _user_folder()).expanduser()
        shared.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(f"{shared / name}.lock", timeout=_LOCK_TIMEOUT_S):
            probe = shared / f".{name}.{os.getpid()}.tmp"
            probe.touch()
            probe.unlink()
        return shared / name
    except (OSError, RuntimeError, NotImplementedError) as error:  # RuntimeError: no home
        _LOG.warning(
            "the rate limit holds for this store alone, not with other builds: the folder of its "
            "state cannot be written (%s); choose another with %s",
            error,
            _STATE_VARIABLE,
        )
        return fallback / name


def _user_folder() -> Path:
    """Return the folder for the user's state, as the XDG base directory specification has it."""
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".local/state") / "avstore"


@dataclass(frozen=True)
class Permit:
    """Permission to begin one attempt.

    Attributes:
        generation: How many pauses there had been when the permit was given.
    """

    generation: int


class RateLimiter:
    """A token bucket with a circuit breaker, used by the driver's thread alone.

    Other processes may use the same state file: together they take no more tokens than one alone.

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
        self._probe: Permit | None = None
        self._excess_s = 0.0
        # What this process took, whatever the clocks of other machines make of the shared state.
        self._own_free = 0.0
        self._alone = self._intact = False
        self.state = LimiterState(next_free=self.clock())
        with self._shared():
            pass  # so that the next run sees this one even if no attempt begins

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
        self._refresh()
        if not self._intact:
            with self._shared():
                pass  # written again, so that the bucket fills
        return self._wait_s()

    def _wait_s(self) -> float:
        if self.paused and self._probe is not None:
            return 3600.0
        now = self.clock()
        own_free = min(self._own_free, now + self.spacing_s + self.slack_s)
        token = max(self.state.next_free, own_free) - self.slack_s if self.spacing_s else 0.0
        return max(0.0, max(token, self.state.open_until) - now)

    def acquire(self) -> Permit | None:
        """Take a token; None where `wait_s` is not 0, as when another process was faster."""
        with self._shared():
            if self._wait_s() > 0.0:
                return None
            permit = Permit(self.state.pauses)
            if self.paused:
                self._probe = permit
            if self.spacing_s:
                self._own_free = max(self.state.next_free, self.clock()) + self.spacing_s
                self.state = replace(self.state, next_free=self._own_free)
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
            with self._shared():
                # Attempts that began before the pause only repeat what is known.
                news = permit.generation == self.state.pauses
                if news:
                    self._pause(verdict, result.message, retry_after_s)
            if news:
                wait = format_duration(self.state.open_until - self.clock())
                _LOG.warning("fetching pauses for %s: %s", wait, self.pause_reason())
        elif self.paused and probing:
            with self._shared():
                self.state = LimiterState(self.state.next_free, pauses=self.state.pauses)
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
        self.state = replace(
            self.state,
            open_until=now + wait,
            failures=failures,
            paused_since=self.state.paused_since or now,
            verdict=verdict.value,
            message=message,
            pauses=self.state.pauses + 1,
        )

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Read the state, let the block change it, and write it, while others wait."""
        # The operating system releases the lock of a process that dies.
        lock = FileLock(f"{self.path}.lock", timeout=_LOCK_TIMEOUT_S)
        try:
            if not self._alone:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
        except (OSError, NotImplementedError) as error:
            self._go_on_alone(error)
        self._refresh()
        before = self.state
        try:
            yield
        finally:
            try:
                if not self._alone and (self.state != before or not self._intact):
                    self._save()
            except OSError as error:
                self._go_on_alone(error)
            lock.release()

    def _go_on_alone(self, error: Exception) -> None:
        self._alone = True
        _LOG.warning(
            "the rate limit holds for this build alone from now on: %s cannot be used (%s)",
            self.path,
            error,
        )

    def _refresh(self) -> None:
        """Read what other processes have written."""
        if not self._alone:
            self.state = self._load()

    def _load(self) -> LimiterState:
        now = self.clock()
        self._intact = False
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
        open_until = saved.open_until
        if open_until > now + self.max_pause_s:
            open_until = now  # one attempt finds out whether the pause still holds
        # What lies beyond the bounds is written within them, or the wait would never shorten.
        self._intact = next_free == saved.next_free and open_until == saved.open_until
        return replace(saved, next_free=max(next_free, now), open_until=open_until)

    def _save(self) -> None:
        temp = self.path.with_name(f".{self.path.name}.tmp")
        temp.write_text(json.dumps(asdict(self.state)))
        temp.replace(self.path)
        self._intact = True


def format_duration(seconds: float) -> str:
    """Format a duration in its largest fitting unit: 45 s, 12 min, 3.5 h, 28 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
